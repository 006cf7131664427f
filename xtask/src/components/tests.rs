//! The whole of `ensure` with a compiler that is a shell script and a release server on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::*;

const DESCRIPTOR: &str = r#"
default = "1.1"
go = { version = "1.26.8", sums = {} }
[kubernetes."1.1"]
version = "v1.1.1"
groups = ["kube", "tools"]
[images]
kube = { program = "kube-a" }

[groups.kube]
version = "v1.1.1"
reports = { args = [], text = "{program} {version}" }
programs = { kube-a = { package = "x/kube-a" }, kube-b = { package = "x/kube-b" } }
release = { url = "https://dl.example/{version}/{program}", checksum = "https://dl.example/{version}/{program}.sha256" }

[groups.tools]
version = "v2.0.0"
module = "kube"
reports = { args = [], text = "{program} {version}" }
programs = { tool = { package = "x/tool", tags = ["special"] } }
[groups.tools.release]
url = "https://code.example/tools-{bare}.tar.gz"
checksum = "https://code.example/SUMS"
member = "bin/{program}"
"#;

/// Stands for Go: notes what it was asked to build in one call, and dies in the middle of the program named in the file
/// `killed-at`. Each program says that two modules are in it; those that there are lie in `modules`.
const GO: &str = r#"#!/bin/sh
cp go.sum "$(dirname "$0")/sums" 2>/dev/null
cd "$(dirname "$0")"
case $1 in
version) shift 2
    for program; do
        printf '%s: go1.26.8\n\tmod\tx/%s\t(devel)\n\tdep\tx/shared\tv1.0.0\th1:right=\n' "$program" "${program##*/}"
    done
    exit ;;
env) pwd; exit ;;
mod) shift 3
    for module; do
        dir=$PWD/modules/$module
        [ -d "$dir" ] || { echo "no $module" >&2; exit 1; }
        printf '{"Path": "%s", "Version": "%s", "Dir": "%s"}\n' "${module%@*}" "${module#*@}" "$dir"
    done
    exit ;;
esac
[ "$1" = build ] || exit 9
while [ "$1" != -o ]; do [ "$1" = -tags ] && tags=$2; shift; done
out=$2; shift 2
echo "$*$tags" >> asked
for package; do
program=$(basename "$package")
[ "$(cat killed-at 2>/dev/null)" = "$program" ] && { echo half > "$out/$program"; kill -9 $$; }
version=v1.1.1; [ "$program" = tool ] && version=v2.0.0
printf '#!/bin/sh\necho %s %s\n' "$program" "$version" > "$out/$program"
chmod +x "$out/$program"
done
"#;

struct Bench {
    dir: tempfile::TempDir,
    workshop: Workshop,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let components = dir.path().join("components");
        host::fs::create_dir_all(&components.join("kube"), 0o755).unwrap();
        host::fs::write(&components.join("components.toml"), DESCRIPTOR.as_bytes(), 0o644).unwrap();
        host::fs::write(&components.join("kube/go.mod"), b"module m\n\ngo 1.20\n", 0o644).unwrap();
        host::fs::write(&components.join("kube/go.sum"), b"", 0o644).unwrap();
        host::fs::write(&dir.path().join("go.sh"), GO.as_bytes(), 0o644).unwrap();
        let go = dir.path().join("go");
        // Written by a child: a fork of another test's thread cannot hold it open for writing then.
        Command::new("install").args(["-m", "755"]).arg(dir.path().join("go.sh")).arg(&go).run().unwrap();
        for module in ["x/kube-a@v1.1.1", "x/kube-b@v1.1.1", "x/tool@v2.0.0"] {
            plant(dir.path(), module, "the licence of all");
        }
        plant(dir.path(), "x/shared@v1.0.0", "another licence");
        host::fs::write(&dir.path().join("LICENSE"), b"Go's", 0o644).unwrap();
        let workshop = Workshop {
            components,
            cache: Cache::at(dir.path().join("cache")),
            tools: Toolchain::fake(go, "go version go1.26.8 linux/amd64"),
            progress: Progress::silent(),
        };
        Self { dir, workshop }
    }

    fn write(&self, name: &str, content: &str) {
        host::fs::write(&self.dir.path().join(name), content.as_bytes(), 0o644).unwrap();
    }

    fn build(&self) -> Result<ProgramsDir> {
        self.workshop.ensure(&Request::default())
    }

    fn download(&self, server: &Server) -> Result<ProgramsDir> {
        let mirror = Some(format!("http://{}/", server.address));
        self.workshop.ensure(&Request { kubernetes: Some("1.1".into()), source: Source::Releases { mirror } })
    }

    /// What the compiler was asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let path = self.dir.path().join("asked");
        let text = host::fs::read_to_string(&path).unwrap_or_default();
        host::fs::remove_file(&path).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// A module in the cache of what stands for Go.
fn plant(dir: &Path, module: &str, licence: &str) {
    let folder = dir.join("modules").join(module);
    host::fs::create_dir_all(&folder, 0o755).unwrap();
    host::fs::write(&folder.join("LICENSE"), licence.as_bytes(), 0o644).unwrap();
}

fn licences_of(dir: &ProgramsDir) -> Licences {
    serde_json::from_slice(&host::fs::read(&dir.path.join(::licences::FILE)).unwrap()).unwrap()
}

#[test]
fn the_folder_has_the_licence_of_every_module_that_is_in_a_program_and_each_text_once() {
    let bench = Bench::new();
    let dir = bench.build().unwrap();
    let licences = licences_of(&dir);
    let works: Vec<_> = licences
        .works()
        .iter()
        .map(|w| {
            format!("{} {} in {}", w.name, w.version, w.within.iter().cloned().collect::<Vec<_>>().join(","))
        })
        .collect();
    let expected = [
        "Go's standard library go1.26.8 in kube-a,kube-b,tool",
        "x/kube-a v1.1.1 in kube-a",
        "x/kube-b v1.1.1 in kube-b",
        "x/shared v1.0.0 in kube-a,kube-b,tool",
        "x/tool v2.0.0 in tool",
    ];
    assert_eq!(works, expected);
    let mut texts: Vec<_> = licences.texts().values().map(String::as_str).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["Go's", "another licence", "the licence of all"]);
    // What programs say of their modules is what Go has to find.
    let sums = host::fs::read_to_string(&bench.dir.path().join("sums")).unwrap();
    assert_eq!(sums, "x/shared v1.0.0 h1:right=\n");
    assert_eq!(licences_of(&bench.download(&Server::start(releases())).unwrap()), licences);
}

#[test]
fn a_module_without_a_licence_is_named_and_ends_it() {
    let bench = Bench::new();
    for module in ["x/shared@v1.0.0", "x/tool@v2.0.0"] {
        let folder = bench.dir.path().join("modules").join(module);
        host::fs::rename(&folder.join("LICENSE"), &folder.join("NOTICE")).unwrap();
    }
    let error = format!("{:#}", bench.build().unwrap_err());
    assert!(error.contains("no licence is in the source of x/shared v1.0.0, x/tool v2.0.0: "), "{error}");
    plant(bench.dir.path(), "x/shared@v1.0.0", "some");
    host::fs::remove_dir_all(&bench.dir.path().join("modules/x/tool@v2.0.0")).unwrap();
    let error = format!("{:#}", bench.build().unwrap_err());
    assert!(error.contains("no x/tool@v2.0.0"), "{error}");
    plant(bench.dir.path(), "x/tool@v2.0.0", "some");
    bench.asked();
    bench.build().unwrap();
    assert!(bench.asked().is_empty(), "what was built is there");
}

#[test]
fn programs_are_built_once_and_the_folder_tells_their_versions() {
    let bench = Bench::new();
    let dir = bench.build().unwrap();
    assert_eq!(bench.asked(), ["x/kube-a x/kube-b", "x/toolspecial"]);
    let json: serde_json::Value =
        serde_json::from_slice(&host::fs::read(&dir.path.join("versions.json")).unwrap()).unwrap();
    assert_eq!(json["kubernetes"], "v1.1.1");
    assert_eq!(json["programs"]["tool"], "v2.0.0");
    assert_eq!(json["images"]["kube"], "v1.1.1");
    assert_eq!(Command::new(dir.path.join("tool")).run().unwrap().text(), "tool v2.0.0");

    assert_eq!(bench.build().unwrap(), dir);
    assert!(bench.asked().is_empty());
    host::fs::remove_dir_all(&dir.path).unwrap();
    bench.build().unwrap();
    assert!(bench.asked().is_empty(), "the groups are still there");
}

#[test]
fn a_killed_run_goes_on_with_the_group_at_which_it_was() {
    const KUBE: &str = "x/kube-a x/kube-b";
    const TOOLS: &str = "x/toolspecial";
    for (killed_at, said, again) in [
        ("kube-b", "cannot make kube-a, kube-b v1.1.1 (kube)", [KUBE, KUBE, TOOLS]),
        ("tool", "cannot make tool v2.0.0 (tools)", [KUBE, TOOLS, TOOLS]),
    ] {
        let bench = Bench::new();
        bench.write("killed-at", killed_at);
        let error = format!("{:#}", bench.build().unwrap_err());
        assert!(error.contains(said), "{error}");
        bench.write("killed-at", "");
        let dir = bench.build().unwrap();
        assert_eq!(bench.asked(), again);
        assert_eq!(Command::new(dir.path.join("kube-b")).run().unwrap().text(), "kube-b v1.1.1");
        assert_eq!(Command::new(dir.path.join("tool")).run().unwrap().text(), "tool v2.0.0");
    }
}

#[test]
fn whatever_the_output_depends_on_makes_another_folder() {
    let mut bench = Bench::new();
    let mut seen = vec![bench.build().unwrap().path];
    let mut is_new = |bench: &Bench, what: &str| {
        let path = bench.build().unwrap().path;
        assert!(!seen.contains(&path), "{what}");
        seen.push(path);
    };
    bench.write("components/kube/go.sum", "a changed sum");
    is_new(&bench, "go.sum");
    bench.write("components/kube/go.mod", "module m\n\ngo 1.21\n");
    is_new(&bench, "go.mod");
    bench.write("components/components.toml", &DESCRIPTOR.replace("special", "other"));
    bench.asked();
    is_new(&bench, "tags");
    assert_eq!(bench.asked(), ["x/toolother"], "only that group is built");
    bench.workshop.tools.go_version = "go version go1.26.9 linux/amd64".into();
    is_new(&bench, "the compiler");
}

#[test]
fn a_program_that_reports_another_version_is_refused() {
    let bench = Bench::new();
    bench.write("components/components.toml", &DESCRIPTOR.replace("\"v2.0.0\"", "\"v2.0.1\""));
    let error = format!("{:#}", bench.build().unwrap_err());
    assert!(error.contains("should report \"tool v2.0.1\", but says: tool v2.0.0"), "{error}");
    assert_eq!(bench.asked().len(), 2);
    bench.build().unwrap_err();
    assert_eq!(bench.asked(), ["x/toolspecial"], "it is not taken for built");
}

#[test]
fn releases_are_taken_when_their_checksums_are_right() {
    let bench = Bench::new();
    let server = Server::start(releases());
    let dir = bench.download(&server).unwrap();
    assert!(bench.asked().is_empty(), "nothing was built");
    for (program, text) in [("kube-a", "kube-a v1.1.1"), ("kube-b", "kube-b v1.1.1"), ("tool", "tool v2.0.0")]
    {
        assert_eq!(Command::new(dir.path.join(program)).run().unwrap().text(), text);
    }
    assert_ne!(bench.build().unwrap(), dir, "built ones are others");
    drop(server);
    let offline = Server::start(BTreeMap::new());
    assert_eq!(bench.download(&offline).unwrap(), dir, "nothing is downloaded twice");
}

#[test]
fn a_corrupt_or_missing_release_is_refused_by_name_and_mended_later() {
    let bench = Bench::new();
    let mut files = releases();
    let good = files.insert("/dl.example/v1.1.1/kube-b".into(), b"#!/bin/sh\necho evil\n".to_vec()).unwrap();
    let server = Server::start(files.clone());
    let error = format!("{:#}", bench.download(&server).unwrap_err());
    assert!(error.contains("https://dl.example/v1.1.1/kube-b is corrupt"), "{error}");
    assert!(error.contains(&sum(&good)) && error.contains("kube-b.sha256"), "{error}");

    files.remove("/dl.example/v1.1.1/kube-b");
    let server = Server::start(files.clone());
    let error = format!("{:#}", bench.download(&server).unwrap_err());
    assert!(
        error.contains("cannot download http://") && error.contains("/dl.example/v1.1.1/kube-b"),
        "{error}"
    );
    assert!(error.contains("404"), "{error}");

    files.insert("/dl.example/v1.1.1/kube-b".into(), good);
    files.insert("/code.example/SUMS".into(), format!("{}  other.tar.gz\n", "0".repeat(64)).into_bytes());
    let server = Server::start(files);
    let error = format!("{:#}", bench.download(&server).unwrap_err());
    assert!(error.contains("SUMS has no SHA-256 of tools-2.0.0.tar.gz"), "{error}");

    bench.download(&Server::start(releases())).unwrap();
}

fn sum(bytes: &[u8]) -> String {
    cache::hex(&Sha256::digest(bytes))
}

/// What upstream's servers would have: two plain programs and a tarball.
fn releases() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for program in ["kube-a", "kube-b"] {
        let content = format!("#!/bin/sh\necho {program} v1.1.1\n").into_bytes();
        files.insert(format!("/dl.example/v1.1.1/{program}.sha256"), sum(&content).into_bytes());
        files.insert(format!("/dl.example/v1.1.1/{program}"), content);
    }
    let dir = tempfile::tempdir().unwrap();
    host::fs::create_dir_all(&dir.path().join("bin"), 0o755).unwrap();
    host::fs::write(&dir.path().join("bin/tool"), b"#!/bin/sh\necho tool v2.0.0\n", 0o755).unwrap();
    let tar =
        Command::new("tar").args(["--create", "--gzip", "--file", "-", "./bin"]).current_dir(dir.path());
    let tarball = tar.run().unwrap().stdout;
    files
        .insert("/code.example/SUMS".into(), format!("{}  tools-2.0.0.tar.gz\n", sum(&tarball)).into_bytes());
    files.insert("/code.example/tools-2.0.0.tar.gz".into(), tarball);
    files
}

/// A file server on loopback that ends with its value.
struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                answer(stream.unwrap(), &files);
            }
        });
        Self { address, ending, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
    let file = request.split(' ').nth(1).and_then(|path| files.get(path));
    let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
    let body = file.map(Vec::as_slice).unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).unwrap();
}
