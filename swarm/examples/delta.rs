//! Measures deltas: `delta OLD.tar NEW.tar`, or without files a patch release that is made up.

use std::io::Cursor;
use std::time::Instant;

use archy_swarm::image::delta;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let (old, new) = match &files[..] {
        [old, new] => (std::fs::read(old)?, std::fs::read(new)?),
        _ => (tar(1)?, tar(2)?),
    };
    let started = Instant::now();
    let mut patch = Vec::new();
    let made = delta::make(Cursor::new(&old), &new[..], u64::MAX, &mut patch)?;
    let making = started.elapsed();
    let started = Instant::now();
    delta::apply(&old[..], &patch[..], &made, std::io::sink())?;
    let applying = started.elapsed();
    let whole = zstd::encode_all(&new[..], 12)?.len();
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    report(&format!(
        "tar {:.1} MB, whole {:.1} MB, delta {:.2} MB: {:.1} % of the whole; made in {:.1} s, applied in {:.2} s",
        megabytes(new.len()),
        megabytes(whole),
        megabytes(patch.len()),
        patch.len() as f64 / whole as f64 * 100.0,
        making.as_secs_f64(),
        applying.as_secs_f64()
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is a program that tells a person")]
fn report(text: &str) {
    println!("{text}");
}

/// A layer of 2000 files of words; between two versions one file in forty changes here and there, some are new.
fn tar(version: usize) -> Result<Vec<u8>, Error> {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..2000 {
        if number % 200 == 7 * version {
            continue;
        }
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        let data = text(number, version);
        header.set_size(data.len() as u64);
        let name = format!("usr/lib/app/{number:04}.txt");
        builder.append_data(&mut header, name, &data[..])?;
    }
    Ok(builder.into_inner()?)
}

fn text(number: usize, version: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let lines = 100 + next() % 400;
    let mut text = String::new();
    for line in 0..lines {
        let (one, other) = (next() % 5000, next());
        let touched = number % 40 == 3 && line % 50 == 9;
        let version = if touched { version } else { 0 };
        text.push_str(&format!("let value_{one} = call({other:x}, {version});\n"));
    }
    text.into_bytes()
}
