//! Whether the API server should ask us.

use std::sync::Arc;

use tokio::sync::watch;

use crate::certs::Served;
use crate::namespaces::Store;

/// What must be known before a review can be answered.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    pub(crate) certificate: watch::Receiver<Option<Arc<Served>>>,
    pub(crate) control: watch::Receiver<Vec<String>>,
    pub(crate) namespaces: Arc<Store>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Readiness {
    /// What is waited for; `None` when ready.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        if *self.stopping.borrow() {
            Some("stopping")
        } else if self.certificate.borrow().is_none() {
            Some("waiting for the serving certificate, which control writes")
        } else if self.control.borrow().is_empty() {
            Some("waiting for control's Service, whose addresses go into pods")
        } else if !self.namespaces.is_complete() {
            Some("waiting for the first list of namespaces, limit ranges and quotas")
        } else {
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::certs::tests::{Authority, served};

    /// Everything that is needed, and the ends that take it away again.
    pub(crate) struct Facts {
        pub(crate) readiness: Readiness,
        pub(crate) certificate: watch::Sender<Option<Arc<Served>>>,
        pub(crate) control: watch::Sender<Vec<String>>,
        pub(crate) stopping: watch::Sender<bool>,
    }

    pub(crate) fn facts() -> Facts {
        let (certificate, certificates) = watch::channel(Some(served(&Authority::new())));
        let (control, addresses) = watch::channel(vec!["10.96.0.9:15012".to_owned()]);
        let (stopping, stop) = watch::channel(false);
        let store = Arc::new(Store::default());
        complete(&store);
        let readiness = Readiness {
            certificate: certificates,
            control: addresses,
            namespaces: store,
            stopping: stop,
        };
        Facts {
            readiness,
            certificate,
            control,
            stopping,
        }
    }

    /// A first list of everything, with nothing in it.
    pub(crate) fn complete(store: &Store) {
        for event in [Event::Init, Event::InitDone] {
            store.namespaces.take(event);
        }
        for event in [Event::Init, Event::InitDone] {
            store.limit_ranges.take(event);
        }
        for event in [Event::Init, Event::InitDone] {
            store.quotas.take(event);
        }
    }

    #[test]
    fn it_is_ready_only_with_everything() {
        let now = facts();
        assert_eq!(now.readiness.missing(), None);
        now.control.send_replace(Vec::new());
        assert!(
            now.readiness
                .missing()
                .unwrap()
                .contains("control's Service")
        );
        now.certificate.send_replace(None);
        assert!(now.readiness.missing().unwrap().contains("certificate"));
        now.stopping.send_replace(true);
        assert_eq!(now.readiness.missing(), Some("stopping"));
        let mut new = facts().readiness;
        new.namespaces = Arc::new(Store::default());
        assert!(new.missing().unwrap().contains("namespaces"));
    }
}
