//! A publisher's Markdown as HTML that can do nothing: no scripts, no styles, no pictures from elsewhere.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// Longest text that is rendered, in bytes; a manifest's own limits are lower.
const SIZE_BYTES_MAX: usize = 64 * 1024;

/// Renders Markdown (CommonMark with tables and strikethrough).
pub fn to_safe_html(markdown: &str) -> String {
    let mut end = markdown.len().min(SIZE_BYTES_MAX);
    while !markdown.is_char_boundary(end) {
        end -= 1;
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // Raw HTML is shown as text; what survives is cleaned once more below.
    let events = Parser::new_ext(&markdown[..end], options).filter_map(|event| {
        if let Event::Html(text) | Event::InlineHtml(text) = event {
            return Some(Event::Text(text));
        }
        let picture = matches!(
            event,
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image)
        );
        (!picture).then_some(event)
    });
    let mut rendered = String::new();
    html::push_html(&mut rendered, events);
    ammonia::Builder::default()
        .rm_tags(["img", "map", "area"])
        .url_schemes(["https", "http", "mailto"].into())
        .link_rel(Some("noopener noreferrer nofollow"))
        .clean(&rendered)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_stays() {
        assert_eq!(
            to_safe_html(
                "# Notes\n\n*Light* and **fast**, see [the site](https://example.org).\n\n- a\n- b\n"
            ),
            "<h1>Notes</h1>\n<p><em>Light</em> and <strong>fast</strong>, see \
             <a href=\"https://example.org\" rel=\"noopener noreferrer nofollow\">the site</a>.</p>\n\
             <ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"
        );
    }

    #[test]
    fn nothing_runs_or_loads() {
        let attacks = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "![x](https://tracker.example/pixel.png)",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](data:text/html,<script>alert(1)</script>)",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<svg onload=alert(1)>",
            "<iframe src=https://evil.example></iframe>",
            "<style>*{display:none}</style>",
            "<div style=\"position:fixed\" onclick=alert(1)>x</div>",
            "<form action=https://evil.example><input name=password>",
            "[x]: javascript:alert(1)\n\n[x]",
            "<http://ok.example\" onclick=alert(1)>",
        ];
        for attack in attacks {
            let html = to_safe_html(attack);
            let tags: Vec<String> = html
                .split('<')
                .skip(1)
                .filter_map(|part| part.split('>').next())
                .map(str::to_lowercase)
                .collect();
            for tag in tags {
                let name = tag.trim_start_matches('/').split(' ').next();
                let known = ["p", "a", "ul", "li"];
                assert!(
                    name.is_some_and(|name| known.contains(&name)),
                    "{attack} became {html}"
                );
                let bad = [" on", "javascript:", "data:", "style"];
                assert!(
                    !bad.iter().any(|bad| tag.contains(bad)),
                    "{attack} became {html}"
                );
            }
        }
    }
}
