//! One use, one identity, one end.

use std::sync::Barrier;
use std::thread;

use super::*;

struct Store {
    directory: tempfile::TempDir,
    root: Root,
    now: OffsetDateTime,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let domain = "cluster.local".parse().unwrap();
        let ca = ca::load_or_create(directory.path(), &domain).unwrap();
        Self {
            root: ca.root().clone(),
            directory,
            now: OffsetDateTime::now_utc(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn token(&self) -> String {
        create(self.path(), &web(), TTL, self.now).unwrap()
    }

    fn redeem(&self, token: &str, key: u8, at: OffsetDateTime) -> Result<SpiffeId, RedeemError> {
        redeem(self.path(), &self.root, token, &[key; 32], at)
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path().join("tokens"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect()
    }
}

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

const TTL: Duration = Duration::from_secs(600);

#[test]
fn a_token_has_its_documented_form_and_its_secret_is_nowhere_on_disk() {
    let store = Store::new();
    let token = store.token();
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], "palisade1");
    assert_eq!(parts[1], base64url(&store.root.key_hash()));
    assert_eq!(parts[2].len(), SECRET_CHARS);
    for file in store.files() {
        assert!(!fs::read_to_string(&file).unwrap().contains(parts[2]));
        assert!(!file.display().to_string().contains(parts[2]));
    }
}

#[test]
fn a_token_is_redeemed_for_one_key_until_it_expires() {
    let store = Store::new();
    let token = store.token();
    assert_eq!(store.redeem(&token, 1, store.now).unwrap(), web());
    assert_eq!(store.redeem(&token, 1, store.now).unwrap(), web());
    assert!(matches!(
        store.redeem(&token, 2, store.now),
        Err(RedeemError::Replayed)
    ));
    assert!(matches!(
        store.redeem(&token, 1, store.now + TTL),
        Err(RedeemError::Expired)
    ));
}

#[test]
fn of_many_keys_at_once_exactly_one_wins() {
    let store = Store::new();
    for _ in 0..20 {
        let token = store.token();
        let (token, store) = (token.as_str(), &store);
        let together = &Barrier::new(8);
        let won: usize = thread::scope(|scope| {
            let redeem = |key| {
                together.wait();
                usize::from(store.redeem(token, key, store.now).is_ok())
            };
            let threads: Vec<_> = (0..8).map(|key| scope.spawn(move || redeem(key))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let (store, other) = (Store::new(), Store::new());
    let token = store.token();
    let (head, secret) = token.rsplit_once('.').unwrap();
    for text in ["", "palisade1", "palisade1.a.b", "palisade2.a.b", head] {
        let refused = store.redeem(text, 1, store.now);
        assert!(matches!(refused, Err(RedeemError::Malformed)), "{text}");
    }
    let climbing = format!("{head}./../{}", &secret[4..]);
    assert!(matches!(
        store.redeem(&climbing, 1, store.now),
        Err(RedeemError::Malformed)
    ));
    let unknown = format!("{head}.{}", "A".repeat(SECRET_CHARS));
    assert!(matches!(
        store.redeem(&unknown, 1, store.now),
        Err(RedeemError::Unknown)
    ));
    assert!(matches!(
        store.redeem(&other.token(), 1, store.now),
        Err(RedeemError::Foreign)
    ));
}

#[test]
fn no_token_names_control_or_another_trust_domain_or_lives_for_ever() {
    let store = Store::new();
    let control = web().trust_domain().control();
    assert!(matches!(
        create(store.path(), &control, TTL, store.now),
        Err(CreateTokenError::Control)
    ));
    assert!(matches!(
        create(store.path(), &web(), Duration::MAX, store.now),
        Err(CreateTokenError::Ttl)
    ));
    let foreign = "spiffe://partner.example/ns/shop/sa/web".parse().unwrap();
    assert!(matches!(
        create(store.path(), &foreign, TTL, store.now),
        Err(CreateTokenError::Ca(CaError::TrustDomain(..)))
    ));
    let nowhere = tempfile::tempdir().unwrap();
    assert!(matches!(
        create(nowhere.path(), &web(), TTL, store.now),
        Err(CreateTokenError::Ca(CaError::Read(..)))
    ));
}

#[test]
fn what_has_expired_is_swept_with_its_mark() {
    let store = Store::new();
    let token = store.token();
    store.redeem(&token, 1, store.now).unwrap();
    sweep(store.path(), store.now).unwrap();
    assert_eq!(store.files().len(), 2);
    sweep(store.path(), store.now + TTL).unwrap();
    assert!(store.files().is_empty());
    assert!(matches!(
        store.redeem(&token, 1, store.now),
        Err(RedeemError::Unknown)
    ));
}

/// RFC 4648, section 10.
#[test]
fn base64url_is_the_standards() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg"),
        ("fo", "Zm8"),
        ("foo", "Zm9v"),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64url(bytes.as_bytes()), text);
    }
    assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
}
