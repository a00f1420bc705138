//! Resident memory, idle and with many connections held open.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::ask;
use crate::figures::results::Figures;
use crate::ground::HTTP;
use crate::meter::resident_mb;
use crate::peers::Pair;
use crate::pods::{Role, SERVER};

/// Each connection has carried one request, and stays open.
pub(super) async fn measure(pair: &Pair) -> Result<Figures> {
    let mut figures = Figures::new();
    sleep(SETTLE).await;
    note(&mut figures, pair, "idle")?;
    let _held = pair.ground.pods.enter(Role::Client, || {
        (0..HELD)
            .map(|_| hold())
            .collect::<Result<Vec<TcpStream>>>()
    })?;
    sleep(2 * SETTLE).await;
    note(&mut figures, pair, "held")?;
    Ok(figures)
}

fn hold() -> Result<TcpStream> {
    let mut stream = ask::connect(SERVER, HTTP)?;
    let answer = ask::get(&mut stream, "/1k").context("a held connection got no answer")?;
    ensure!(answer.is_ok, "a held connection got a bad answer");
    Ok(stream)
}

/// Adds the memory of both proxies.
pub(super) fn note(figures: &mut Figures, pair: &Pair, when: &str) -> Result<()> {
    for (role, proxy) in pair.roles() {
        figures.insert(format!("{when}_{}_mb", role.name()), resident_mb(proxy)?);
    }
    Ok(())
}

const HELD: usize = 1000;
/// How long memory may take to come to rest.
const SETTLE: Duration = Duration::from_secs(1);
