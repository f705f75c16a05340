//! Takes out of a text what must not leave the machine: secrets wherever they appear, credentials in addresses, the values
//! of environment variables, the user's home. Pure.

/// Shortest text that is looked for as a secret; a shorter one would take ordinary words out.
const SECRET_CHARS_MIN: usize = 6;

/// What must not be told, and what is said instead.
#[derive(Debug, Default)]
pub struct Redaction {
    /// Longest first: a secret may hold another.
    hidden: Vec<(String, String)>,
}

impl Redaction {
    /// Hides each secret, given with its name, and calls the home directory `~`.
    pub fn new(secrets: Vec<(String, String)>, home: &str) -> Self {
        let named = secrets.into_iter().flat_map(|(name, value)| {
            let mut lines: Vec<String> = value.lines().map(|line| line.trim().to_owned()).collect();
            lines.push(value.trim().to_owned());
            lines
                .into_iter()
                .map(move |line| (line, format!("[secret {name}]")))
        });
        let mut hidden: Vec<(String, String)> = named
            .filter(|(value, _)| value.chars().count() >= SECRET_CHARS_MIN)
            .collect();
        if home.len() > 1 {
            hidden.push((home.to_owned(), "~".to_owned()));
        }
        hidden.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        Self { hidden }
    }

    /// Returns the text without what is hidden.
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, instead) in &self.hidden {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), instead);
            }
        }
        let lines = text
            .lines()
            .map(|line| without_credentials(&without_value(line)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Leaves the name of a variable that a unit sets, not its value.
fn without_value(line: &str) -> String {
    let Some(setting) = line.trim_start().strip_prefix("Environment=") else {
        return line.to_owned();
    };
    let name = setting.split('=').next().unwrap_or_default();
    format!("Environment={}=[set]", name.trim_start_matches(['"', '\'']))
}

/// Takes `user:password@` out of addresses.
fn without_credentials(line: &str) -> String {
    let mut told = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        told.push_str(before);
        told.push_str("://");
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
            .unwrap_or(after.len());
        rest = match after.get(..end).and_then(|authority| authority.rfind('@')) {
            Some(at) => {
                told.push_str("[credentials]");
                after.get(at..).unwrap_or_default()
            }
            None => after,
        };
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_leave_the_machine_is_taken_out() {
        let secrets = [
            ("web/password", "hunter22\n"),
            ("web/pair", "hunter22hunter22"),
            ("short", "ab"),
            ("key", "first line\nsecond line\n"),
        ];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let redaction = Redaction::new(secrets.to_vec(), "/home/ada");
        for (text, told) in [
            ("it is hunter22.", "it is [secret web/password]."),
            ("it is hunter22hunter22.", "it is [secret web/pair]."),
            ("about", "about"),
            ("x second line", "x [secret key]"),
            ("/home/ada/.local", "~/.local"),
            (
                "wss://u:p@relay.example/x and http://a.example",
                "wss://[credentials]@relay.example/x and http://a.example",
            ),
            ("http://a.example/b@c", "http://a.example/b@c"),
            ("postgres://u:p@/db", "postgres://[credentials]@/db"),
            ("://@://@", "://[credentials]@://[credentials]@"),
            ("Environment=\"A=b c\"", "Environment=A=[set]"),
            ("  Environment=A=b", "Environment=A=[set]"),
            ("one\ntwo", "one\ntwo"),
        ] {
            assert_eq!(redaction.apply(text), told, "{text}");
        }
    }
}
