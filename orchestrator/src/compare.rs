//! What another release of an installed app would change here: what it may do, what its owner set, what others need.

use archy_registry::manifest::Dependency;
use archy_registry::release::Release;
use archy_registry::{Slug, Verified};

use crate::desired::DesiredError;
use crate::kept::{Kept, kept};
use crate::neighbours;
use crate::orchestrator::Orchestrator;
use crate::ports;
use crate::quadlet::unit::ReadError;
use crate::quadlet::{self, RenderError};
use crate::rights::{Granted, RightsDiff, diff};
use crate::settings::AssignError;
use crate::surroundings;

/// What another release of an installed app would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What the app may do.
    pub rights: RightsDiff,
    /// What its owner set, which stays.
    pub kept: Vec<Kept>,
    /// The installed apps that need another version of it, each with what it needs.
    pub unmet: Vec<(Slug, Dependency)>,
}

/// A release could not be compared with the installed one.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// What is installed cannot be read.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// The release cannot run here.
    #[error("the release cannot be expressed as units")]
    Render(#[from] RenderError),
    /// It needs a port that is not free.
    #[error(transparent)]
    Ports(#[from] AssignError),
    /// The units of the installed release are not in the form in which they are written.
    #[error("the units of the installed release cannot be read")]
    Units(#[from] ReadError),
}

impl Orchestrator {
    /// Compares the units of the installed release, as they are live, with those that `release` would get with the
    /// owner's settings, and what both say of these; `None` when the app is not installed. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`CompareError`].
    pub fn compare(&self, release: &Verified<Release>) -> Result<Option<Compared>, CompareError> {
        let slug = &release.manifest.app.id;
        let found = self.inner.store.load_all()?;
        let mut known = found.desired.iter();
        let installed = known.find(|known| known.app == release.app() && known.is_installed());
        let Some(installed) = installed else {
            return Ok(None);
        };
        let mut settings = ports::assign(&release.manifest, &found.desired, &installed.settings)?;
        settings.surroundings = surroundings::guess(
            &settings.applied_to(&release.manifest),
            &installed.settings.surroundings,
            &found.desired,
            &self.inner.facts,
        );
        let units = quadlet::render(release, &settings, &self.inner.facts)?;
        let hooks = &installed.release.manifest.hooks;
        let before = Granted::read(slug, &installed.units)?.and_hooks(hooks);
        let after = Granted::read(slug, &units.files())?.and_hooks(&release.manifest.hooks);
        let (from, to) = (&installed.release.manifest, &release.manifest);
        Ok(Some(Compared {
            rights: diff(&before, &after),
            kept: kept(&installed.settings, from, to),
            unmet: neighbours::unmet(installed, to, &found.desired),
        }))
    }
}
