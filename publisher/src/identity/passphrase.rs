//! Passphrases: from a file, or typed on the terminal without being shown.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use archy_registry::SigningKey;
use archy_registry::proof::key_file::{self, PASSPHRASE_CHARS_MIN, Passphrase};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Where passphrases come from.
#[derive(Debug, Clone, Default)]
pub struct Passphrases {
    file: Option<PathBuf>,
    terminal: Option<PathBuf>,
}

impl Passphrases {
    /// Takes them from `file`, else from the terminal of this process.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            terminal: Some("/dev/tty".into()),
        }
    }

    /// Has none: encrypted keys cannot be read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a key file, and asks for its passphrase when it has one.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, or the passphrase is wrong.
    pub fn load_key(&self, path: &Path) -> Result<SigningKey, Failure> {
        key_file::load(path, || {
            self.ask(&format!("Passphrase of {}: ", path.display()))
        })
    }

    /// Takes a new passphrase; on the terminal it is typed twice.
    ///
    /// # Errors
    ///
    /// When there is none, it is too short, or the two are not the same.
    pub fn choose(&self) -> Result<Passphrase, Failure> {
        let chosen = self.ask("New passphrase: ")?;
        if chosen.is_too_short() {
            return Err(Failure::usage(format!(
                "the passphrase is shorter than {PASSPHRASE_CHARS_MIN} characters"
            )));
        }
        if self.file.is_none() && !self.ask("The same again: ")?.is(&chosen) {
            return Err(Failure::usage("the two passphrases are not the same"));
        }
        Ok(chosen)
    }

    fn ask(&self, question: &str) -> Result<Passphrase, Failure> {
        if let Some(file) = &self.file {
            return Ok(Passphrase::load(file)?);
        }
        match self.terminal.as_deref().map(|path| type_in(path, question)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) | None => Err(Failure::failed(
                "passphrase",
                "a passphrase is needed, and there is no terminal to ask on",
            )
            .hint(
                "Write it into a file that only you can read, and name that with --passphrase-file",
            )),
        }
    }
}

fn type_in(terminal: &Path, question: &str) -> std::io::Result<Passphrase> {
    let mut screen = File::options().read(true).write(true).open(terminal)?;
    let _silent = Silent::new(screen.try_clone()?)?;
    write!(screen, "{question}")?;
    // Room for a long one: a text that grows leaves copies of itself behind.
    let mut text = String::with_capacity(1024);
    BufReader::new(&screen).read_line(&mut text)?;
    writeln!(screen)?;
    Ok(Passphrase::new(text))
}

/// A terminal that does not show what is typed, until it is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: File) -> std::io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
