//! A small database that speaks first, as MySQL and SMTP servers do.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::serve::{Ending, serve};

type Store = BTreeMap<String, String>;

/// What a client hears before it has said anything.
pub(super) const GREETING: &str = "shop-db 1 ready";
const LONGEST_LINE: u64 = 4096;
const MOST_KEYS: usize = 1000;

/// Answers until it is asked to end.
pub(super) async fn run(
    listen: SocketAddr,
    asked_to_end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let store = Arc::new(Mutex::new(Store::new()));
    serve(listen, asked_to_end, move |connection, ending| {
        let store = store.clone();
        async move {
            // A client that leaves early is its own affair.
            let _left = talk(connection, &store, ending).await;
        }
    })
    .await
}

async fn talk(connection: TcpStream, store: &Mutex<Store>, mut ending: Ending) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    connection
        .write_all(format!("{GREETING}\n").as_bytes())
        .await?;
    loop {
        let mut line = String::new();
        let mut next = (&mut connection).take(LONGEST_LINE);
        let read = tokio::select! {
            biased;
            read = next.read_line(&mut line) => read?,
            () = ending.begun() => return connection.shutdown().await,
        };
        if read == 0 {
            return Ok(());
        }
        if line.trim() == "QUIT" {
            return connection.shutdown().await;
        }
        let answer = {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&mut store, line.trim())
        };
        connection
            .write_all(format!("{answer}\n").as_bytes())
            .await?;
    }
}

fn answer(store: &mut Store, line: &str) -> String {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    match words.as_slice() {
        ["SET", key, value] if store.len() < MOST_KEYS || store.contains_key(*key) => {
            store.insert((*key).to_owned(), (*value).to_owned());
            "OK".to_owned()
        }
        ["SET", _, _] => "ERROR full".to_owned(),
        ["GET", key] => store
            .get(*key)
            .cloned()
            .unwrap_or_else(|| "NONE".to_owned()),
        ["COUNT"] => format!("{} keys", store.len()),
        _ => "ERROR say SET K V, GET K, COUNT or QUIT".to_owned(),
    }
}

/// A connection to the database, which has greeted.
#[derive(Debug)]
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and hears the greeting.
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        let mut client = Self(BufReader::new(TcpStream::connect(address).await?));
        let greeting = client.line().await?;
        if greeting != GREETING {
            return Err(io::Error::other(format!("greeted with {greeting:?}")));
        }
        Ok(client)
    }

    /// Asks one question.
    pub(super) async fn ask(&mut self, question: &str) -> io::Result<String> {
        self.0.write_all(format!("{question}\n").as_bytes()).await?;
        self.line().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if (&mut self.0)
            .take(LONGEST_LINE)
            .read_line(&mut line)
            .await?
            == 0
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Asks one question on a connection of its own.
pub(super) async fn ask(address: &str, question: &str) -> io::Result<String> {
    Client::connect(address).await?.ask(question).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_got() {
        let mut store = Store::new();
        let talk = [
            ("GET a", "NONE"),
            ("SET a b c", "OK"),
            ("GET a", "b c"),
            ("COUNT", "1 keys"),
            ("DROP", "ERROR say SET K V, GET K, COUNT or QUIT"),
        ];
        for (question, expected) in talk {
            assert_eq!(answer(&mut store, question), expected, "{question}");
        }
    }
}
