//! A small app to start from: one static page served by busybox.

use archy_registry::Slug;

/// Returns the files of a new app: path below its folder, and content.
pub fn files(id: &Slug) -> [(&'static str, String); 4] {
    let name = title(id);
    let fill = |template: &str| {
        template
            .replace("@ID@", id.as_str())
            .replace("@NAME@", &name)
    };
    [
        ("manifest.yml", fill(MANIFEST)),
        ("icon.svg", fill(ICON)),
        ("web/Containerfile", fill(CONTAINERFILE)),
        ("web/www/index.html", fill(PAGE)),
    ]
}

/// Makes a display name: `my-notes` becomes `My notes`.
fn title(id: &Slug) -> String {
    let text = id.as_str().replace('-', " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

const MANIFEST: &str = "\
app:
  id: @ID@
  name: @NAME@
  version: 0.1.0
  tagline: One line that says what it is for
  description: |
    What it does, in Markdown: the store's page shows this text.
  category: other
  icon: icon.svg

containers:
  - name: web
    # `archy app install --dev` and `archy publish` build it again whenever something in the folder changed.
    source:
      type: build
      context: web
      tag: localhost/@ID@-web:latest
    user: \"1000:1000\"
    readonly_root: true
    ports:
      - container: 8080
    resources:
      memory: 64M
    health_check:
      type: http
      port: 8080

# isolated: no internet. outbound: the internet too.
network_policy: isolated

interfaces:
  - name: @NAME@
    port: 8080
    type: ui
";

const CONTAINERFILE: &str = "\
FROM busybox:stable
COPY www/ /www/
USER 1000:1000
EXPOSE 8080/tcp
ENTRYPOINT [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]
";

const PAGE: &str = "\
<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>@NAME@</title>
<h1>@NAME@</h1>
";

const ICON: &str = "\
<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 128 128\">
  <rect width=\"128\" height=\"128\" rx=\"28\" fill=\"#3f6fb6\"/>
  <circle cx=\"64\" cy=\"64\" r=\"30\" fill=\"none\" stroke=\"#fff\" stroke-width=\"12\"/>
</svg>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_app_is_valid() {
        for id in ["notes", "my-notes-2"] {
            let id: Slug = id.parse().unwrap();
            let files = files(&id);
            let parsed = archy_registry::manifest::parse(&files[0].1).unwrap();
            assert_eq!(parsed.manifest.app.id, id);
            assert!(parsed.warnings.is_empty());
            archy_orchestrator::quadlet::preview(&parsed.manifest).unwrap();
        }
        assert_eq!(title(&"my-notes".parse().unwrap()), "My notes");
    }
}
