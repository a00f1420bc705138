//! Real programs, unmodified: their own servers and their own clients, as they are installed.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Mesh, allow, repository, stdout, wait_until};
use crate::traffic::{
    PYTHON, assert_carried, client, ends, is_between, listening, python_command, run,
};

const GRPC: &str = include_str!("programs/grpc.py");
const WEBSOCKET: &str = include_str!("programs/websocket.py");

#[test]
#[ignore = "needs nginx, curl"]
fn nginx_answers_curl_over_kept_closed_and_http2_connections() {
    let mesh = one_server(&nginx(), "nginx", 8080);
    listening(&mesh, "nginx", 8081);
    let url = "http://nginx:8080/";
    // Three answers over one connection.
    let kept = curl(&mesh, &["-w", "%{num_connects}\n", url, url, url]);
    assert_eq!(
        kept,
        "nginx says hello\n1\nnginx says hello\n0\nnginx says hello\n0\n"
    );
    let (outbound, inbound) = ends(&mesh, "client-0", "nginx-0", 8080);
    assert_same_bytes(&outbound, &inbound);
    assert_eq!(outbound["close.by"], "client");
    // Each on its own, closed by the server.
    let closed = curl(
        &mesh,
        &[
            "-H",
            "Connection: close",
            "-w",
            "%{num_connects}\n",
            url,
            url,
        ],
    );
    assert_eq!(closed, "nginx says hello\n1\nnginx says hello\n1\n");
    let (outbound, inbound) = mesh.both_sides("close", |r| {
        is_between(r, "client-0", "nginx-0", 8080) && r["close.by"] == "server"
    });
    assert_same_bytes(&outbound, &inbound);
    // HTTP/2 with prior knowledge. (curl 7 itself cannot use such a connection twice.)
    let url = "http://nginx:8081/";
    let http2 = ["--http2-prior-knowledge", "-w", "%{http_version}\n", url];
    assert_eq!(curl(&mesh, &http2), "nginx says hello\n2\n");
    let (outbound, inbound) = ends(&mesh, "client-0", "nginx-0", 8081);
    assert_same_bytes(&outbound, &inbound);
}

#[test]
#[ignore = "needs python3, curl"]
fn a_grpc_shaped_call_gets_its_body_and_its_trailers() {
    let server = format!(
        "- {{name: grpc, namespace: shop, ports: [50051], command: {}}}\n",
        python_command(GRPC)
    );
    let mesh = one_server(&server, "grpc", 50051);
    let answer = curl(
        &mesh,
        &[
            "--http2-prior-knowledge",
            "-i",
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
            "5 bytes of a message",
            "http://grpc:50051/shop.Orders/Place",
        ],
    );
    for part in ["HTTP/2 200", "5 bytes of a message", "grpc-status: 0"] {
        assert!(answer.contains(part), "no {part} in {answer}");
    }
    let (outbound, inbound) = ends(&mesh, "client-0", "grpc-0", 50051);
    assert_same_bytes(&outbound, &inbound);
}

#[test]
#[ignore = "needs python3"]
fn a_websocket_carries_messages_both_ways_unasked() {
    let command = serde_json::to_string(&[PYTHON, "-c", WEBSOCKET, "serve"]).unwrap();
    let server =
        format!("- {{name: websocket, namespace: shop, ports: [8082], command: {command}}}\n");
    let mesh = one_server(&server, "websocket", 8082);
    assert_eq!(
        stdout(&run(&mesh, "client", WEBSOCKET, &["talk"])),
        "done\n"
    );
    let (outbound, inbound) = ends(&mesh, "client-0", "websocket-0", 8082);
    assert_same_bytes(&outbound, &inbound);
    assert!(outbound["bytes_sent"].as_u64() > Some(50_000));
    assert!(outbound["bytes_recv"].as_u64() > Some(50_000));
}

#[test]
#[ignore = "needs redis-server, redis-cli"]
fn redis_answers_commands_and_a_pipeline() {
    let server = r#"
- name: redis
  namespace: shop
  command: [redis-server, --bind, "* -::*", --protected-mode, "no", --save, ""]
  ports: [6379]
"#;
    let mesh = one_server(server, "redis", 6379);
    let set = mesh.exec(
        "client",
        &["redis-cli", "-h", "redis", "set", "word", "kept"],
    );
    assert_eq!(stdout(&set), "OK\n");
    let read = mesh.exec("client", &["redis-cli", "-h", "redis", "get", "word"]);
    assert_eq!(stdout(&read), "kept\n");
    let records = ends(&mesh, "client-0", "redis-0", 6379);
    // As Redis writes them: an array of words, each with its length; and +OK.
    let sent = "*3\r\n$3\r\nset\r\n$4\r\nword\r\n$4\r\nkept\r\n".len() as u64;
    assert_carried(&records, sent, "+OK\r\n".len() as u64);
    let batch = "for n in $(seq 10000); do echo incr counter; done | redis-cli -h redis --pipe";
    let piped = stdout(&mesh.exec("client", &["sh", "-c", batch]));
    assert!(piped.contains("errors: 0, replies: 10000"), "{piped}");
    let counted = mesh.exec("client", &["redis-cli", "-h", "redis", "get", "counter"]);
    assert_eq!(stdout(&counted), "10000\n");
    let (outbound, inbound) = mesh.both_sides("close", |r| {
        is_between(r, "client-0", "redis-0", 6379) && r["bytes_sent"].as_u64() > Some(100_000)
    });
    assert_same_bytes(&outbound, &inbound);
}

#[test]
#[ignore = "needs postgres, psql, redis-server, nginx, curl"]
fn the_example_of_real_servers_serves() {
    let mesh = Mesh::of_file(&repository("examples/local/servers.yaml"));
    for (server, port) in [("redis", 6379), ("postgres", 5432), ("nginx", 8080)] {
        listening(&mesh, server, port);
    }
    // As the file's head tells.
    assert_eq!(curl(&mesh, &["http://nginx/"]), "nginx says hello\n");
    let pong = mesh.exec("client", &["redis-cli", "-h", "redis", "ping"]);
    assert_eq!(stdout(&pong), "PONG\n");
    let sql = "create table orders (id int, what text); \
               insert into orders select n, 'order ' || n from generate_series(1, 20000) n; \
               select count(*), max(id) from orders;";
    assert_eq!(last_line(&psql(&mesh, sql)), "20000|20000");
    let rows = stdout(&psql(&mesh, "select id, what from orders order by id"));
    assert_eq!(rows.lines().count(), 20_000);
    assert_eq!(rows.lines().last(), Some("20000|order 20000"));
    for (server, port) in [("redis-0", 6379), ("postgres-0", 5432), ("nginx-0", 8080)] {
        let (outbound, inbound) = ends(&mesh, "client-0", server, port);
        assert_same_bytes(&outbound, &inbound);
        assert_eq!(
            inbound["policy.rule"],
            "default/servers/client-uses-all-servers"
        );
    }
    // Nobody else is admitted by its rules.
    let denied = mesh.exec("redis", &["curl", "-sS", "-m", "10", "http://nginx/"]);
    assert!(!denied.status.success());
    mesh.both_sides("denied", |r| is_between(r, "redis-0", "nginx-0", 8080));
    let mut mesh = mesh;
    assert!(mesh.interrupt().success());
}

/// A mesh of a client and one server that it may call, which listens.
fn one_server(server: &str, name: &str, port: u16) -> Mesh {
    let workloads = client("") + server;
    let mesh = Mesh::up(&workloads, &allow(name, "client"));
    listening(&mesh, name, port);
    mesh
}

/// nginx with HTTP/1.1 on 8080 and HTTP/2 without TLS on 8081.
fn nginx() -> String {
    let start = "dir=$(mktemp -d) && cd $dir && cat > nginx.conf <<END
        error_log stderr; pid $dir/pid; daemon off; events {}
        http {
          access_log off;
          client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi;
          uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
          server {
            listen [::]:8080 ipv6only=off;
            listen [::]:8081 http2 ipv6only=off;
            location / { return 200 'nginx says hello\\n'; }
          }
        }
\nEND\nexec nginx -c $dir/nginx.conf";
    let command = serde_json::to_string(&["sh", "-c", start]).unwrap();
    format!(
        "- {{name: nginx, namespace: shop, runAsUser: 1000, ports: [8080, 8081], command: {command}}}\n"
    )
}

fn curl(mesh: &Mesh, arguments: &[&str]) -> String {
    let command = [&["curl", "-sS", "-m", "30"], arguments].concat();
    stdout(&mesh.exec("client", &command))
}

fn psql(mesh: &Mesh, sql: &str) -> Output {
    let ask = [
        "psql", "-h", "postgres", "-U", "postgres", "-XAtq", "-c", sql,
    ];
    // It listens before it lets anybody in.
    wait_until("the database to start", || {
        let answer = mesh.exec("client", &ask);
        let starting = String::from_utf8_lossy(&answer.stderr).contains("starting up");
        (!starting).then_some(answer)
    })
}

fn last_line(output: &Output) -> String {
    let text = stdout(output);
    text.lines().last().unwrap_or_default().to_owned()
}

/// That both sides count the same, and something.
fn assert_same_bytes(outbound: &Value, inbound: &Value) {
    let counted = |of: &str| outbound[of].as_u64().expect("a number");
    assert_carried(
        &(outbound.clone(), inbound.clone()),
        counted("bytes_sent"),
        counted("bytes_recv"),
    );
    assert!(counted("bytes_sent") > 0 && counted("bytes_recv") > 0);
}
