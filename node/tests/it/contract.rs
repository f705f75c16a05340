//! The TypeScript that the web UI compiles against is the one that these types make.

use std::collections::BTreeMap;
use std::path::Path;

use archyd::api::types;
use ts_rs::{Config, TS};

const MEND: &str = "web/src/api/types differs from node/src/api/types; run: UPDATE_TYPES=1 cargo test -p archyd --test it contract";

fn read(dir: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_web_uis_types_have_not_drifted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::from_env().with_out_dir(dir.path());
    macro_rules! export {
        ($($name:ident)*) => { $( types::$name::export_all(&config).unwrap(); )* };
    }
    // Parameters and answers of every method, and the events; what they contain follows.
    export!(
        SearchParams SearchResult AppRef AppPage InstallParams UninstallParams UpdateParams RollbackParams ConfigureParams SettingsPage JobRef InstanceParams
        InstanceList Instance Health LogsParams Logs JobListParams JobParams Job NodeStatus Session
        ClaimParams LoginParams Event PublishState BlobsParams BlobsMissing BlobProvided
        RegistryList RegistryAddParams RegistryRemoveParams RegistryMoveParams RegistryTestParams RegistryTest
        TrustParams TrustPage HistoryParams History PinParams BlockParams ReportParams VouchParams OpinionGiven
        AdoptableList AdoptParams MigrationPlan MigrateParams
        ReviewerParams Reviewers Policy PolicyPage StoragePage FsckParams SeedingPolicy SeedingPage
        BackupCreateParams BackupListParams BackupRestoreParams BackupVerifyParams BackupRemoveParams
        BackupScheduleParams BackupPage
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/src/api/types");
    let made = read(dir.path());
    if std::env::var_os("UPDATE_TYPES").is_some() {
        for name in read(&folder)
            .keys()
            .filter(|name| !made.contains_key(*name))
        {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, text) in &made {
            std::fs::write(folder.join(name), text).unwrap();
        }
        return;
    }
    let committed = read(&folder);
    assert_eq!(
        committed.keys().collect::<Vec<_>>(),
        made.keys().collect::<Vec<_>>(),
        "{MEND}"
    );
    for (name, text) in &made {
        assert_eq!(&committed[name], text, "{name}: {MEND}");
    }
}
