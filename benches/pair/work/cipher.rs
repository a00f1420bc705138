//! What AES-128-GCM alone costs, by the library that the proxy has it from.

use std::hint::black_box;

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use nix::sys::resource::{UsageWho, getrusage};

use crate::figures::results::{Figures, named};
use crate::meter::seconds;

/// CPU of sealing and of opening: seconds per GB (10^9) in the longest records, and microseconds for a small request and its
/// answer in a record each.
pub(crate) fn measure() -> Result<Figures> {
    let (seal, open) = record(RECORD_BYTES)?;
    let per_gb = 1e9 / RECORD_BYTES as f64;
    let (seal, open) = (seal * per_gb, open * per_gb);
    let (seal_request, open_request) = record(REQUEST_BYTES)?;
    let (seal_answer, open_answer) = record(ANSWER_BYTES)?;
    let exchange = seal_request + open_request + seal_answer + open_answer;
    Ok(named([
        ("seal_s_per_gb", seal),
        ("open_s_per_gb", open),
        ("both_s_per_gb", seal + open),
        ("both_us_per_exchange", exchange * 1e6),
    ]))
}

/// CPU seconds of sealing a record of so many bytes, and of opening it.
fn record(bytes: usize) -> Result<(f64, f64)> {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_unspecified| refused())?;
    let key = LessSafeKey::new(key);
    let mut record = vec![0x5a; bytes];
    let seal = timed(|| {
        let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut record);
        tag.map(|tag| drop(black_box(tag)))
            .map_err(|_unspecified| refused())
    })?;
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut record);
    let tag = tag.map_err(|_unspecified| refused())?;
    let mut plain = vec![0; bytes];
    let open = timed(|| {
        let opened =
            key.open_separate_gather(nonce(), Aad::empty(), &record, tag.as_ref(), &mut plain);
        opened.map_err(|_unspecified| refused())
    })?;
    black_box(plain);
    Ok((seal, open))
}

/// CPU seconds of this thread for one step.
fn timed(mut step: impl FnMut() -> Result<()>) -> Result<f64> {
    let before = seconds(&getrusage(UsageWho::RUSAGE_THREAD)?);
    for _ in 0..RECORDS {
        step()?;
    }
    let after = seconds(&getrusage(UsageWho::RUSAGE_THREAD)?);
    Ok((after - before) / RECORDS as f64)
}

/// The same for all: nothing that is sealed here is kept.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn refused() -> anyhow::Error {
    anyhow!("AES-128-GCM refuses")
}

/// The most that TLS puts into one record.
const RECORD_BYTES: usize = 16 << 10;
/// What wrk asks for, and what nginx answers with its head.
const REQUEST_BYTES: usize = 64;
const ANSWER_BYTES: usize = 1280;
/// Of the longest, half a GB.
const RECORDS: usize = 32 << 10;
