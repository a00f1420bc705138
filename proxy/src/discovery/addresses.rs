//! What is at an address: asked for once, then kept up to date by control.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_api::workload::AtAddress;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// The addresses that were asked for. Cheap to clone; all clones are one book.
#[derive(Debug, Clone)]
pub struct AddressBook {
    entries: Arc<Mutex<HashMap<IpAddr, Entry>>>,
    changed: watch::Sender<()>,
    ask: mpsc::UnboundedSender<Ask>,
}

#[derive(Debug)]
struct Entry {
    at: Option<Arc<AtAddress>>,
    used: Instant,
}

/// What the stream from control is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Look the address up, and say when it changes.
    Subscribe(IpAddr),
    /// No longer of interest.
    Drop(IpAddr),
}

impl AddressBook {
    /// An empty book, and what its readers ask for. At most [`MAX_ADDRESSES`] are held: the longest unused
    /// one makes room, so that what asks is bounded by that and never by what strangers connect from.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Ask>) {
        let (ask, asked) = mpsc::unbounded_channel();
        let book = Self {
            entries: Arc::default(),
            changed: watch::Sender::new(()),
            ask,
        };
        (book, asked)
    }

    /// What is at `ip`; none where control did not say within `patience`, or says that nothing is known there.
    ///
    /// Cancel safe.
    pub async fn lookup(&self, ip: IpAddr, patience: Duration) -> Option<Arc<AtAddress>> {
        self.wait(ip, patience, |at| *at != AtAddress::Unknown)
            .await
    }

    /// What control says of `ip`, that nothing is known there included; none where it did not say in time.
    ///
    /// Cancel safe.
    pub async fn answer(&self, ip: IpAddr, patience: Duration) -> Option<Arc<AtAddress>> {
        self.wait(ip, patience, |_| true).await
    }

    async fn wait(
        &self,
        ip: IpAddr,
        patience: Duration,
        enough: impl Fn(&AtAddress) -> bool,
    ) -> Option<Arc<AtAddress>> {
        let mut changed = self.changed.subscribe();
        let found = timeout(patience, async {
            loop {
                changed.mark_unchanged();
                match self.known_or_asked(ip) {
                    Some(at) if enough(&at) => return at,
                    Some(_) | None => {}
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        found.await.ok()
    }

    /// What is known of `ip` now, without waiting. Asks for it, if nobody did.
    pub fn known_or_asked(&self, ip: IpAddr) -> Option<Arc<AtAddress>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&ip) {
            entry.used = Instant::now();
            return entry.at.clone();
        }
        if entries.len() >= MAX_ADDRESSES {
            let oldest = entries
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(ip, _)| *ip);
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
                self.send(Ask::Drop(oldest));
            }
        }
        entries.insert(
            ip,
            Entry {
                at: None,
                used: Instant::now(),
            },
        );
        self.send(Ask::Subscribe(ip));
        None
    }

    /// What control says of addresses now; one that it no longer names is not known any more.
    pub fn replace(&self, mut now: HashMap<IpAddr, AtAddress>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (ip, entry) in entries.iter_mut() {
            let at = now.remove(ip);
            if entry.at.as_deref() != at.as_ref() {
                entry.at = at.map(Arc::new);
            }
        }
        drop(entries);
        self.changed.send_replace(());
    }

    /// Every address that is asked for, for a new stream.
    pub fn asked(&self) -> Vec<IpAddr> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.keys().copied().collect()
    }

    fn send(&self, ask: Ask) {
        if self.ask.send(ask).is_err() {
            tracing::debug!("nobody looks addresses up any more");
        }
    }
}

/// Most addresses held at once.
pub const MAX_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_use_asks_and_waits_for_the_answer() {
        let (book, mut asked) = AddressBook::new();
        let waiting = tokio::spawn({
            let book = book.clone();
            async move { book.lookup(ip(1), PATIENCE).await }
        });
        assert_eq!(asked.recv().await, Some(Ask::Subscribe(ip(1))));
        book.replace(HashMap::from([(ip(1), AtAddress::Unknown)]));
        book.replace(HashMap::from([(ip(1), AtAddress::Outside)]));
        assert_eq!(waiting.await.unwrap().as_deref(), Some(&AtAddress::Outside));
        assert_eq!(
            book.lookup(ip(1), PATIENCE).await.as_deref(),
            Some(&AtAddress::Outside)
        );
        assert!(asked.try_recv().is_err(), "asked once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_answers_is_not_known() {
        let (book, _asked) = AddressBook::new();
        assert_eq!(book.lookup(ip(1), PATIENCE).await, None);
        assert_eq!(book.answer(ip(1), PATIENCE).await, None);
        book.replace(HashMap::from([(ip(1), AtAddress::Unknown)]));
        assert_eq!(book.lookup(ip(1), PATIENCE).await, None);
        assert_eq!(
            book.answer(ip(1), PATIENCE).await.as_deref(),
            Some(&AtAddress::Unknown)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_control_no_longer_names_is_not_known_any_more() {
        let (book, _asked) = AddressBook::new();
        assert_eq!(book.known_or_asked(ip(1)), None);
        book.replace(HashMap::from([(ip(1), AtAddress::Outside)]));
        book.replace(HashMap::new());
        assert_eq!(book.known_or_asked(ip(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_address_makes_room() {
        let (book, mut asked) = AddressBook::new();
        for n in 0..=MAX_ADDRESSES {
            tokio::time::advance(Duration::from_millis(1)).await;
            let n = u32::try_from(n).unwrap();
            let _none = book.known_or_asked(std::net::Ipv4Addr::from(n).into());
        }
        let mut dropped = Vec::new();
        while let Ok(ask) = asked.try_recv() {
            if let Ask::Drop(ip) = ask {
                dropped.push(ip);
            }
        }
        assert_eq!(dropped, [IpAddr::from([0, 0, 0, 0])]);
        assert_eq!(book.asked().len(), MAX_ADDRESSES);
    }
}
