//! What the logs hold already, merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::read::{Source, Span};
use super::{Asked, Warned};
use crate::records::filter::Timed;
use crate::records::print::Printer;

/// Prints the records of all pods in the order of their time; says how many lines were none.
pub(super) async fn merge(
    client: &Client,
    asked: &Asked,
    pods: &[Pod],
    mut printer: Printer,
    warned: &mut Warned,
) -> anyhow::Result<u64> {
    let mut readers = JoinSet::new();
    let mut streams = Vec::new();
    let span = Span {
        age: asked.age,
        follow: false,
    };
    for source in pods.iter().map(Source::of) {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let client = client.clone();
        streams.push(receiver);
        readers.spawn(async move {
            let read = source.read(client, span, sender).await;
            (source.key, read)
        });
    }
    in_time(streams, |timed| printer.take(timed)).await?;
    printer.finish()?;
    let mut skipped = 0;
    while let Some(ended) = readers.join_next().await {
        let (key, read) = ended?;
        skipped += read.skipped;
        if let Some(error) = read.error {
            warned.unreadable(&key, &error);
        }
    }
    Ok(skipped)
}

/// Takes from each stream in turn what is earliest: only one record of each is held.
async fn in_time(
    mut streams: Vec<mpsc::Receiver<Timed>>,
    mut take: impl FnMut(Timed) -> io::Result<()>,
) -> io::Result<()> {
    let mut heads: Vec<Option<Timed>> = Vec::with_capacity(streams.len());
    let mut order = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        let head = stream.recv().await;
        order.extend(head.as_ref().map(|timed| Reverse((timed.at, index))));
        heads.push(head);
    }
    while let Some(Reverse((_, index))) = order.pop() {
        let (Some(head), Some(stream)) = (heads.get_mut(index), streams.get_mut(index)) else {
            break;
        };
        if let Some(timed) = head.take() {
            take(timed)?;
        }
        *head = stream.recv().await;
        order.extend(head.as_ref().map(|timed| Reverse((timed.at, index))));
    }
    Ok(())
}

/// How many records of one pod are read ahead.
const AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seconds: &[u32]) -> mpsc::Receiver<Timed> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        for second in seconds {
            let line = format!(
                r#"{{"time":"2026-11-21T12:00:{second:02}.5Z","event":"close","conn.id":"{second}"}}"#
            );
            sender.try_send(Timed::of_line(&line).unwrap()).unwrap();
        }
        receiver
    }

    #[tokio::test]
    async fn streams_are_merged_by_their_records_time() {
        let streams = vec![
            stream(&[1, 4, 9]),
            stream(&[]),
            stream(&[0, 5, 6, 7]),
            stream(&[2]),
        ];
        let mut merged = Vec::new();
        let all = in_time(streams, |timed| {
            merged.push(timed.record["conn.id"].as_str().unwrap().to_owned());
            Ok(())
        });
        all.await.unwrap();
        assert_eq!(merged, ["0", "1", "2", "4", "5", "6", "7", "9"]);
    }
}
