//! Which texts may reach a screen, a unit file or a file name.

/// Why a text is refused; completes the sentence "it …".
pub(crate) type Complaint = String;

/// Checks a text of one line and at most `chars_max` characters.
pub(crate) fn check_line(text: &str, chars_max: usize) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    check_line_or_empty(text, chars_max)
}

/// Checks a text of at most one line and at most `chars_max` characters.
pub(crate) fn check_line_or_empty(text: &str, chars_max: usize) -> Result<(), Complaint> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!(
            "has {chars} characters, at most {chars_max} are allowed"
        ));
    }
    match text.chars().find(|c| is_hidden(*c)) {
        Some(c) => Err(complain_about(c)),
        None => Ok(()),
    }
}

/// Checks Markdown: several lines, at most `size_bytes_max` bytes.
pub(crate) fn check_markdown(text: &str, size_bytes_max: usize) -> Result<(), Complaint> {
    if text.len() > size_bytes_max {
        return Err(format!(
            "has {} bytes, at most {size_bytes_max} are allowed",
            text.len()
        ));
    }
    match text
        .chars()
        .find(|c| is_hidden(*c) && !matches!(c, '\n' | '\t'))
    {
        Some(c) => Err(complain_about(c)),
        None => Ok(()),
    }
}

/// Checks an `https://` URL of plain ASCII with a host and no user name.
pub(crate) fn check_https(url: &str) -> Result<(), Complaint> {
    let fault = "must be an https:// URL with a host name, written in plain ASCII without spaces";
    match url.strip_prefix("https://") {
        Some(rest) if is_plain_url(rest, "443") => Ok(()),
        Some(_) | None => Err(fault.to_owned()),
    }
}

/// Checks an iroh relay's URL: `https://`, or `http://` on a network of one's own.
pub(crate) fn check_relay(url: &str) -> Result<(), Complaint> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(rest) if is_plain_url(rest, "443") => Ok(()),
        Some(_) | None => Err("must be https:// or http:// URLs in plain ASCII".to_owned()),
    }
}

/// Checks what follows a URL's scheme: host, port other than 0, and plain ASCII without quotes.
fn is_plain_url(rest: &str, port_default: &str) -> bool {
    let plain = rest.len() <= 500
        && rest.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\')
        });
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after_host = authority.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[after_host..].rfind(':') {
        Some(colon) => (
            &authority[..after_host + colon],
            &authority[after_host + colon + 1..],
        ),
        None => (authority, port_default),
    };
    let ip6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let host_name = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    plain && (host_name || ip6) && port_fits
}

/// Control characters, line separators and characters that reorder or hide text (Unicode TR 36, TR 9).
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

fn complain_about(c: char) -> Complaint {
    if c == '\n' || c == '\r' {
        return "must not contain a line break".to_owned();
    }
    format!("must not contain the character U+{:04X}", u32::from(c))
}
