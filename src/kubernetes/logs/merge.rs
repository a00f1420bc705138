//! What the logs hold already, merged.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
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
    let mut late = Late::default();
    let mut show = |due: Vec<Timed>| due.into_iter().try_for_each(|timed| printer.take(timed));
    in_time(streams, |timed| show(late.push(timed))).await?;
    show(late.held.into())?;
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

/// Puts right what a sidecar writes late: refusals that repeat are counted for a while before they are written.
#[derive(Debug, Default)]
struct Late {
    held: VecDeque<Timed>,
}

impl Late {
    /// Takes a record, and gives those that none can come before any more.
    fn push(&mut self, timed: Timed) -> Vec<Timed> {
        let place = self.held.partition_point(|held| held.at <= timed.at);
        self.held.insert(place, timed);
        let until = self.held.back().map(|newest| newest.at - LATEST);
        let due = self.held.partition_point(|held| Some(held.at) < until);
        self.held.drain(..due).collect()
    }
}

/// How much later than it happened a record may be written: what repeats is counted for 10 s.
const LATEST: time::Duration = time::Duration::seconds(12);
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

    #[tokio::test]
    async fn what_was_written_late_comes_where_it_belongs() {
        // The refusals of the sixth second are counted until the fourteenth.
        let streams = vec![stream(&[1, 5, 9, 14, 6, 20, 40]), stream(&[2, 10, 13, 30])];
        let (mut late, mut shown) = (Late::default(), Vec::new());
        let all = in_time(streams, |timed| {
            shown.extend(late.push(timed));
            Ok(())
        });
        all.await.unwrap();
        assert!(shown.len() > 5, "{} are held", late.held.len());
        shown.extend(late.held);
        let times: Vec<u8> = shown.iter().map(|timed| timed.at.second()).collect();
        assert_eq!(times, [1, 2, 5, 6, 9, 10, 13, 14, 20, 30, 40]);
    }
}
