//! What the tests stand on: a network namespace of their own, and servers that are processes of
//! their own, because who owns a listener is the point.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use host::command::Command;
use nix::sched::{CloneFlags, unshare};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, sockopt};
use steer::{Listener, Policy, listeners};

pub(crate) const PORT: u16 = 6443;
/// Addresses of the namespace that are not loopback addresses.
pub(crate) const OTHER_V4: &str = "10.99.0.1";
pub(crate) const OTHER_V6: &str = "fd00:99::1";

const ROLE: &str = "STEER_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the test on a thread in a new network namespace, which is gone when the test is.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need CAP_SYS_ADMIN");
        for args in [
            "link set lo up".to_owned(),
            format!("address add {OTHER_V4}/32 dev lo"),
            format!("address add {OTHER_V6}/128 dev lo nodad"),
        ] {
            Command::new("ip").args(args.split(' ')).run().unwrap();
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// A child process; killed when dropped, and when the test's thread dies.
pub(crate) struct Process(Child);

impl Process {
    /// Starts this test binary again in a role (see [`play`]) and waits until it is set up.
    pub(crate) fn start(role: &str) -> Self {
        Self::start_with(role, &[])
    }

    pub(crate) fn start_with(role: &str, variables: &[(&str, &str)]) -> Self {
        let command = Command::new(this_program());
        Self::run(variables.iter().fold(command, |c, (key, value)| c.env(key, value)), role)
    }

    fn run(command: Command, role: &str) -> Self {
        let command = command.args(["child", "--exact", "--ignored", "--nocapture"]).env(ROLE, role);
        let mut child = command.spawn(Stdio::piped(), Stdio::inherit()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let child = Self(child);
        let set_up = lines.map_while(Result::ok).any(|line| line.contains("set up"));
        assert!(set_up, "the child in the role `{role}` ended at once");
        child
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// SIGKILL, and until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process that listens, and its listener as `steer` sees it.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) listener: Listener,
}

impl Server {
    /// Listens on `[::]` and answers each connection with its name.
    pub(crate) fn start(name: &str) -> Self {
        Self::on(&format!("[::]:{PORT}"), name)
    }

    pub(crate) fn on(address: &str, name: &str) -> Self {
        Self::of(Process::start(&format!("answer {address} {name}")))
    }

    /// Listens, and accepts nothing: connections wait in its queue.
    pub(crate) fn deaf() -> Self {
        Self::of(Process::start(&format!("deaf [::]:{PORT}")))
    }

    /// Answers nobody, and calls itself from `::1` until somebody ends that call; then again.
    pub(crate) fn calling_itself() -> Self {
        Self::of(Process::start(&format!("calls-itself [::]:{PORT}")))
    }

    /// As [`Server::calling_itself`], in a PID namespace of its own, as in a container.
    pub(crate) fn calling_itself_in_a_container() -> Self {
        let before = listeners(PORT).unwrap();
        let container = Command::new("unshare").args(["--pid", "--fork", "--kill-child"]).arg(this_program());
        let process = Process::run(container, &format!("calls-itself [::]:{PORT}"));
        let new = listeners(PORT).unwrap().into_iter().find(|l| !before.contains(l));
        Self { listener: new.expect("the container's listener is found"), process }
    }

    pub(crate) fn of(process: Process) -> Self {
        let found = listeners(PORT).unwrap();
        let listener = found.into_iter().find(|l| l.id.process.pid == process.pid());
        Self { listener: listener.expect("the child's listener is found"), process }
    }
}

/// What a child process does, as its role says: `<kind> <address> [<name>]`.
pub(crate) fn play(steer: impl FnOnce()) {
    let role = std::env::var(ROLE).expect("only the other tests start this one");
    let words: Vec<_> = role.split(' ').collect();
    let address = || words[1].parse::<SocketAddr>().unwrap();
    match words[0] {
        "answer" => {
            let listener = listen(address(), None, true);
            set_up();
            for stream in listener.incoming() {
                let _ = stream.and_then(|mut s| s.write_all(words[2].as_bytes()));
            }
        }
        "calls-itself" => call_itself(listen(address(), None, true)),
        "deaf" => hold(listen(address(), None, true)),
        "alone" => hold(listen(address(), None, false)),
        "mptcp" => hold(listen(address(), Some(ipproto::MPTCP), true)),
        "tls" => serve_tls(&listen(address(), None, true), words[2], words[3]),
        "steer" => {
            steer();
            hold(());
        }
        other => panic!("no such role: {other}"),
    }
}

/// Keeps every connection, and keeps one to its own port, as an apiserver does while it starts.
fn call_itself(listener: TcpListener) {
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    set_up();
    loop {
        let call = TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, PORT));
        let _ = call.and_then(|mut call| call.read(&mut [0]));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn set_up() {
    println!("set up");
}

fn hold<T>(_kept: T) {
    set_up();
    loop {
        std::thread::park();
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn listen(address: SocketAddr, protocol: Option<Protocol>, shared: bool) -> TcpListener {
    let socket = rustix::net::socket(family(address), SocketType::STREAM, protocol).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    sockopt::set_socket_reuseport(&socket, shared).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 128).unwrap();
    socket.into()
}

/// Speaks TLS with the certificate from two environment variables and answers in HTTP.
fn serve_tls(listener: &TcpListener, status: &str, body: &str) {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let variable = |name| std::env::var(name).unwrap();
    let certificate = CertificateDer::from_pem_slice(variable("CERTIFICATE").as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(variable("KEY").as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    set_up();
    for stream in listener.incoming() {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
        let mut request = [0; 4096];
        let Ok(length) = stream.read(&mut request) else { continue };
        assert!(request[..length].starts_with(b"GET /readyz"));
        let answer = format!("HTTP/1.0 {status} As told\r\nContent-Type: text/plain\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    }
}

/// Who answers a connection to this address.
pub(crate) fn ask(to: &str) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&to.parse().unwrap(), PATIENCE)?;
    name_from(stream)
}

/// Who answers a connection from this address to that one. Leaves no TIME_WAIT behind.
pub(crate) fn ask_from(from: &str, to: &str) -> io::Result<String> {
    loop {
        match connect_from(from, to) {
            // Another test has just forked and holds our last socket until its exec.
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => std::thread::yield_now(),
            stream => return name_from(stream?),
        }
    }
}

fn connect_from(from: &str, to: &str) -> io::Result<TcpStream> {
    let (from, to) = (from.parse::<SocketAddr>().unwrap(), to.parse::<SocketAddr>().unwrap());
    let socket = rustix::net::socket_with(family(from), SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    rustix::net::bind(&socket, &from)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

pub(crate) fn name_from(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut name = String::new();
    stream.read_to_string(&mut name)?;
    Ok(name)
}

/// Who answers `count` new connections, each name once.
pub(crate) fn who_answers(count: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..count).map(|_| ask(&format!("127.0.0.1:{PORT}")).unwrap()).collect();
    names.sort();
    names.dedup();
    names
}

/// All connections go to the first of these that still listens.
pub(crate) fn order(servers: &[&Server]) -> Policy {
    Policy { order: servers.iter().map(|s| s.listener.clone()).collect(), own_calls: None }
}
