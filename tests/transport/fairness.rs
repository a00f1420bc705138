//! Many streams at once: none starves. When the first of equal bulk streams has moved all that it has, the others have
//! moved a good part of it, and small requests were answered meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::apps::Shared;
use super::talk::{Talk, Way};
use super::{Ground, KIB, MIB, PLAN, mesh_connections};

#[test]
#[ignore = "needs root"]
fn streams_share_one_mesh_connection_fairly_with_each_other_and_with_small_requests() {
    for way in [Way::Up, Way::Down] {
        let ground = Ground::new(&PLAN);
        ground.kernels_keep_little();
        let to = ground.pod();
        let seen = ground.apps.run(move |shared| async move {
            let mut talking = Talking::default();
            for number in 0..STREAMS {
                let talk = Talk::bulk(way, BULK).numbered(number);
                talking.begin(&shared, to, talk.beginning_with_others());
            }
            talking.begin(&shared, to, requests().beginning_with_others());
            // All are there before any is bulk, so that they share a connection.
            until(|| shared.greeted() > STREAMS).await;
            shared.begin();
            talking.until_the_first_has_ended(&shared).await
        });
        let seen = seen.result("bulk");
        assert_eq!(mesh_connections(ground.orders[0]).len(), 1);
        println!("{way:?}: {}", seen.said());
        seen.assert_fair(3);
        ground.assert_all_ended_well(STREAMS as usize + 1);
    }
}

#[test]
#[ignore = "needs root"]
fn streams_share_fairly_over_several_mesh_connections_too() {
    for way in [Way::Up, Way::Down] {
        let ground = Ground::new(&PLAN);
        ground.kernels_keep_little();
        let to = ground.pod();
        let seen = ground.apps.run(move |shared| async move {
            let mut talking = Talking::default();
            for number in 0..STREAMS {
                let talk = Talk::bulk(way, BULK).numbered(number);
                talking.begin(&shared, to, talk.stopping_after(ENOUGH));
                // The next one keeps clear of this one's connection, as long as there are others.
                until(|| shared.arrived(number) == ENOUGH).await;
            }
            talking.begin(&shared, to, requests());
            until(|| shared.greeted() > STREAMS).await;
            shared.go_on();
            talking.until_the_first_has_ended(&shared).await
        });
        let seen = seen.result("bulk");
        assert!(mesh_connections(ground.orders[0]).len() > 1);
        println!("{way:?}: {}", seen.said());
        seen.assert_fair(3);
        ground.assert_all_ended_well(STREAMS as usize + 1);
    }
}

/// What is under way.
#[derive(Default)]
struct Talking {
    talks: JoinSet<Result<(), String>>,
    /// What each stream had moved when the last one began.
    before: Vec<u64>,
}

/// What each moved while the fastest moved all that it had.
struct Seen {
    bulk: Vec<u64>,
    requests: u64,
}

/// One after the other, on one stream.
fn requests() -> Talk {
    Talk::rounds(REQUESTS, QUESTION, ANSWER, Duration::ZERO).numbered(STREAMS)
}

impl Talking {
    fn begin(&mut self, shared: &Arc<Shared>, to: SocketAddr, talk: Talk) {
        self.talks.spawn(Arc::clone(shared).talk(to, talk));
        self.before = arrived(shared);
    }

    async fn until_the_first_has_ended(mut self, shared: &Shared) -> Seen {
        until(|| arrived(shared).contains(&u64::from(BULK))).await;
        let after = arrived(shared);
        let requests = shared.arrived(STREAMS) / u64::from(QUESTION + ANSWER);
        let moved = after.iter().zip(&self.before);
        let bulk = moved.map(|(after, before)| after - before).collect();
        while let Some(ended) = self.talks.join_next().await {
            let ended = ended.expect("a talk does not panic");
            ended.expect("each ends well");
        }
        Seen { bulk, requests }
    }
}

impl Seen {
    fn said(&self) -> String {
        let kib: Vec<_> = self.bulk.iter().map(|bytes| bytes / KIB).collect();
        format!("{} requests beside bulk of {kib:?} KiB", self.requests)
    }

    /// Nobody moved less than the mean divided by this, and small requests came through.
    fn assert_fair(&self, divided: u64) {
        let mean = self.bulk.iter().sum::<u64>() / u64::from(STREAMS);
        let least = *self.bulk.iter().min().unwrap();
        let Self { bulk, requests } = self;
        assert!(least >= mean / divided, "{bulk:?}");
        assert!(*requests >= FEWEST_REQUESTS, "{requests}");
    }
}

fn arrived(shared: &Shared) -> Vec<u64> {
    (0..STREAMS).map(|number| shared.arrived(number)).collect()
}

/// Looks again and again; the test as a whole has the bound.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const STREAMS: u32 = 8;
/// What each bulk stream has.
const BULK: u32 = 64 << 20;
/// Enough to be taken for bulk.
const ENOUGH: u64 = 2 * MIB;
const REQUESTS: u32 = 1000;
const QUESTION: u32 = 100;
const ANSWER: u32 = 1000;
/// A request is behind what is on its way on its connection already, and not behind all that is sent.
const FEWEST_REQUESTS: u64 = 96;
