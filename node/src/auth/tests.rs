use std::os::unix::fs::PermissionsExt;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery";

struct Bed {
    dir: tempfile::TempDir,
    auth: Auth,
}

impl Bed {
    /// Claims the node with the code that it gives out.
    async fn claim(&self) -> Login {
        let code = self.auth.claim_code().unwrap().unwrap().code;
        let claimed = self.auth.claim(HERE, &code, PASSWORD.into(), at(0)).await;
        claimed.unwrap()
    }

    async fn is_open(&self, login: &Login, from: IpAddr, now: Timestamp) -> bool {
        let sessions = self.auth.sessions();
        let admits = sessions.admits(&login.token, &login.csrf, from, now);
        admits.await.unwrap()
    }
}

async fn bed() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let pool = crate::database::open(&dir.path().join("node.db"))
        .await
        .unwrap();
    let auth = Auth::open(&dir.path().join("keys"), pool, Duration::from_secs(3600)).unwrap();
    Bed { dir, auth }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

#[tokio::test]
async fn a_node_is_claimed_once() {
    let bed = bed().await;
    let code = bed.auth.claim_code().unwrap().unwrap();
    assert!(code.fresh);
    assert!(!bed.auth.claim_code().unwrap().unwrap().fresh);
    let file = bed.dir.path().join("keys/claim-code");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let wrong = bed
        .auth
        .claim(HERE, "0000-0000-0000-0000", PASSWORD.into(), at(0))
        .await;
    assert!(matches!(wrong, Err(AuthError::Wrong)));
    let short = bed
        .auth
        .claim(HERE, &code.code, "short".into(), at(0))
        .await;
    assert!(matches!(short, Err(AuthError::PasswordLength)));

    let typed = code.code.to_lowercase().replace('-', " ");
    let login = bed
        .auth
        .claim(HERE, &typed, PASSWORD.into(), at(0))
        .await
        .unwrap();
    assert!(bed.is_open(&login, HERE, at(1)).await);
    assert!(!file.exists());
    let hash = bed.dir.path().join("keys/password");
    assert_eq!(
        std::fs::metadata(&hash).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        std::fs::read_to_string(hash)
            .unwrap()
            .starts_with("$argon2id$v=19$m=32768,t=3,p=1$")
    );

    let again = bed
        .auth
        .claim(HERE, &code.code, "another password".into(), at(2))
        .await;
    assert!(matches!(again, Err(AuthError::Claimed)));
}

#[tokio::test]
async fn passwords_are_checked_and_wrong_ones_slow_down() {
    let bed = bed().await;
    let unclaimed = bed.auth.login(HERE, PASSWORD.into(), at(0)).await;
    assert!(matches!(unclaimed, Err(AuthError::Wrong)));
    bed.claim().await;
    bed.auth.login(HERE, PASSWORD.into(), at(0)).await.unwrap();
    for _ in 0..5 {
        let wrong = bed.auth.login(HERE, "not the password".into(), at(0)).await;
        assert!(matches!(wrong, Err(AuthError::Wrong)));
    }
    let right_but_early = bed.auth.login(HERE, PASSWORD.into(), at(0)).await;
    assert!(matches!(right_but_early, Err(AuthError::TooMany(_))));
    bed.auth.login(HERE, PASSWORD.into(), at(5)).await.unwrap();
}

#[tokio::test]
async fn sessions_expire_and_end_and_take_both_tokens() {
    let bed = bed().await;
    let sessions = bed.auth.sessions();
    let login = sessions.begin(HERE, at(0)).await.unwrap();
    let other = sessions.begin(HERE, at(0)).await.unwrap();
    assert!(bed.is_open(&login, HERE, at(1)).await);
    let made_up = "0".repeat(64);
    for (token, csrf) in [
        (&login.token, &other.csrf),
        (&login.token, &login.token),
        (&login.token, &String::new()),
        (&made_up, &login.csrf),
        (&String::new(), &login.csrf),
    ] {
        let admits = sessions.admits(token, csrf, HERE, at(1));
        assert!(!admits.await.unwrap(), "{token} with {csrf}");
    }
    let elsewhere = "10.0.0.9".parse().unwrap();
    assert!(!bed.is_open(&login, elsewhere, at(1)).await);
    let same_machine = "::1".parse().unwrap();
    assert!(bed.is_open(&login, same_machine, at(1)).await);

    sessions.end(&other.token).await.unwrap();
    assert!(!bed.is_open(&other, HERE, at(2)).await);

    // Idle for longer than an hour: the cookie alone does not keep a session open.
    let cookie_alone = sessions.is_open(&login.token, HERE, at(3000)).await;
    assert!(cookie_alone.unwrap());
    assert!(!bed.is_open(&login, HERE, at(3602)).await);
}

#[tokio::test]
async fn a_busy_session_ends_too() {
    let bed = bed().await;
    let sessions = bed.auth.sessions();
    let login = sessions.begin(HERE, at(0)).await.unwrap();
    for n in 1..=20 {
        assert!(bed.is_open(&login, HERE, at(n * 1800)).await);
    }
    assert!(!bed.is_open(&login, HERE, at(36_001)).await);
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_refused() {
    let bed = bed().await;
    bed.auth.claim_code().unwrap();
    let file = bed.dir.path().join("keys/claim-code");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(bed.auth.claim_code(), Err(AuthError::Mode(_))));
}

#[tokio::test]
async fn a_reset_makes_the_node_claimable_again() {
    let bed = bed().await;
    let login = bed.claim().await;
    bed.auth.reset().await.unwrap();
    assert!(!bed.is_open(&login, HERE, at(1)).await);
    assert!(bed.auth.claim_code().unwrap().unwrap().fresh);
}
