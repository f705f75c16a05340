//! Checks what the shop window shows.

use super::{Report, grammar};
use crate::manifest::App;
use crate::text;

const MARKDOWN_SIZE_BYTES_MAX: usize = 16 * 1024;

pub(super) fn check(app: &App, report: &mut Report) {
    report.at("app", |report| {
        report.member("name", text::check_line(&app.name, 60));
        report.member("version", grammar::version(&app.version));
        report.member("tagline", text::check_line(&app.tagline, 120));
        let markdown = |text: &String| text::check_markdown(text, MARKDOWN_SIZE_BYTES_MAX);
        report.member("description", markdown(&app.description));
        if let Some(icon) = &app.icon {
            report.member("icon", image_file(icon.as_str()));
        }
        report.each("screenshots", &app.screenshots, 12, |report, _, path| {
            report.value(image_file(path.as_str()));
        });
        if let Some(url) = &app.website {
            report.member("website", text::check_https(url));
        }
        if let Some(url) = &app.source {
            report.member("source", text::check_https(url));
        }
        if let Some(license) = &app.license {
            report.member("license", grammar::license(license));
        }
        if let Some(notes) = &app.release_notes {
            report.member("release_notes", markdown(notes));
        }
    });
}

fn image_file(path: &str) -> Result<(), String> {
    let known = [".png", ".svg", ".webp", ".jpg", ".jpeg"]
        .iter()
        .any(|extension| path.ends_with(extension));
    if known {
        Ok(())
    } else {
        Err("must be a .png, .svg, .webp, .jpg or .jpeg file".to_owned())
    }
}
