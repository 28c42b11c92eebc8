"""False names."""

from typing import Any

import pytest

from beat_bridge.detectors import detect
from beat_bridge.model.base import Reason, Unavailable, Verdict
from beat_bridge.model.findings import Finding, FindingKind
from beat_bridge.model.processes import Process
from tests.inventories.builders import inventory, process, socket


def found(seen: Process) -> list[Finding]:
    """What is said of its name."""
    return [finding for finding in detect(inventory(seen)) if finding.kind is FindingKind.MASQUERADE]


SHM = "/dev/shm/kdmtmpflush"  # noqa: S108 - the name the backdoor uses
REPORTED_NAMES = (
    "/sbin/udevd -d",
    "/sbin/mingetty /dev/tty7",
    "/usr/sbin/console-kit-daemon --no-daemon",
    "hald-addon-acpi: listening on acpi kernel interface /proc/acpi/event",
    "dbus-daemon --system",
    "hald-runner",
    "pickup -l -t fifo -u",
    "avahi-daemon: chroot helper",
    "/sbin/auditd -n",
    "/usr/lib/systemd/systemd-journald",
    "sgaSolAgent",
    "cmathreshd",
    "hpasmlited",
    "containerd",
    "/usr/lib/systemd/systemd-resolved",
    "cron -f -P",
    "abrtd",
)


@pytest.mark.parametrize("title", REPORTED_NAMES)
@pytest.mark.parametrize("path", [SHM, "/tmp/.x", "/memfd:x"])  # noqa: S108
def test_every_reported_false_name_is_found(title: str, path: str) -> None:
    """Each name that public reports tell of is found on a program in shared memory, in /tmp and in a memfd."""
    (finding,) = found(process(812, path, (title,), name="x", memfd=path.startswith("/memfd:")))
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.95)
    assert finding.subject == "process:812:81200"
    assert "T1036.011" in finding.techniques


@pytest.mark.parametrize("title", REPORTED_NAMES)
def test_a_reported_name_on_another_system_program_is_suspicious(title: str) -> None:
    """A well-known daemon's name on some other installed program is suspicious, not certain."""
    (finding,) = found(process(812, "/usr/sbin/rpcinfod", (title,), name="rpcinfod"))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.7)


@pytest.mark.parametrize("title", REPORTED_NAMES)
def test_the_real_daemon_may_have_its_name(title: str) -> None:
    """The program that owns a reported name carries it in peace."""
    path = f"/usr/sbin/{title.split(maxsplit=1)[0].rstrip(':').rpartition('/')[2]}"
    assert found(process(812, path, (title,))) == []


@pytest.mark.parametrize(
    "args",
    [("[kaluad_sync]",), ("[kworker/0:1-events]",), ("[kaluad_sync]", ""), ("[rcu_par_gp]",)],
)
def test_a_kernel_thread_with_an_executable_is_none(args: tuple[str, ...]) -> None:
    """A bracketed title on a process that has a program is near-certain, wherever the program lies."""
    (finding,) = found(process(812, "/usr/bin/evil", args))
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.97)
    assert "T1036.004" in finding.techniques


def test_empty_arguments_and_a_kernel_threads_name_are_found() -> None:
    """Brackets are what ps puts around a name without arguments: kworker/u8:2 with a program is none."""
    (finding,) = found(process(812, "/usr/bin/evil", (), name="kworker/u8:2"))
    assert finding.confidence == 0.97


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(process(2, "", (), name="kworker/0:1", kernel_thread=True), id="the kernel says it is its own"),
        pytest.param(
            process(2, "", (), name="kworker/0:1", executable=Unavailable(reason=Reason.ABSENT)), id="no executable"
        ),
        pytest.param(process(812, "/usr/bin/tool", ("[main]:", "x")), id="brackets are not the whole title"),
        pytest.param(process(812, "/usr/bin/tool", ("[a b]",)), id="a kernel thread's name has no blanks"),
        pytest.param(process(812, "/usr/bin/tool", (), name="worker"), id="an ordinary name and no arguments"),
        pytest.param(process(812, "/usr/bin/tool", ("tool",), name="kworker/u8:2"), id="it has arguments"),
    ],
)
def test_what_only_resembles_a_kernel_thread_is_quiet(seen: Process) -> None:
    """Near-misses of the kernel thread question, one for each condition."""
    assert found(seen) == []


def test_a_false_comm_alone_is_found() -> None:
    """A name set with prctl is held against the file as well, also cut to 15 bytes."""
    (finding,) = found(process(812, SHM, ("x",), name="console-kit-dae"))
    assert finding.reasons[0] == "its name says console-kit-daemon"


def test_a_system_path_claimed_from_a_home_is_suspicious() -> None:
    """A program in a person's directory that claims a system path under another name is suspicious."""
    (finding,) = found(process(812, "/home/kim/x", ("/usr/sbin/ntpd",)))
    assert (finding.verdict, finding.confidence) == (Verdict.SUSPICIOUS, 0.6)
    assert "T1036.005" in finding.techniques


@pytest.mark.parametrize(
    "path",
    [SHM, "/tmp/x", "/var/tmp/x", "/run/user/0/x", "/dev/x", "/run/lock/x", "/var/run/user/0/x"],  # noqa: S108
)
def test_a_system_path_claimed_from_a_volatile_place_is_malicious(path: str) -> None:
    """Any system path claimed by a program where no package puts one is found, whatever daemon it names."""
    (finding,) = found(process(812, path, ("/usr/sbin/ntpd",)))
    assert finding.verdict is Verdict.MALICIOUS


QUIET: dict[str, Process] = {
    "systemd": process(1, "/usr/lib/systemd/systemd", ("/sbin/init",)),
    "sd-pam": process(40, "/usr/lib/systemd/systemd", ("(sd-pam)",), name="(sd-pam)"),
    "systemd about to run agetty": process(41, "/usr/lib/systemd/systemd-executor", ("(agetty)",), name="(agetty)"),
    "agetty": process(42, "/usr/sbin/agetty", ("/sbin/agetty", "-o", "-p -- \\u", "tty1")),
    "udevd on Debian 12": process(43, "/usr/bin/udevadm", ("/lib/systemd/systemd-udevd",), name="systemd-udevd"),
    "journald": process(44, "/usr/lib/systemd/systemd-journald", ("/lib/systemd/systemd-journald",)),
    "sshd listener": process(45, "/usr/sbin/sshd", ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",)),
    "sshd session": process(46, "/usr/sbin/sshd", ("sshd: kim [priv]",)),
    "sshd-session": process(47, "/usr/lib/openssh/sshd-session", ("sshd-session: kim@pts/0",)),
    "login shell": process(48, "/usr/bin/bash", ("-bash",)),
    "postgres writer": process(49, "/usr/lib/postgresql/15/bin/postgres", ("postgres: 15/main: background writer ",)),
    "nginx worker": process(50, "/usr/sbin/nginx", ("nginx: worker process",)),
    "php-fpm pool": process(51, "/usr/sbin/php-fpm8.2", ("php-fpm: pool www",)),
    "dbus": process(52, "/usr/bin/dbus-daemon", ("@dbus-daemon", "--system", "--address=systemd:")),
    "vi": process(53, "/usr/bin/vim.basic", ("/usr/bin/vi", "x")),
    "sh": process(54, "/usr/bin/dash", ("/bin/sh", "-c", "x")),
    "sendmail": process(55, "/usr/sbin/exim4", ("/usr/sbin/sendmail", "-bd")),
    "busybox cron": process(56, "/bin/busybox", ("/usr/sbin/crond", "-f"), name="crond"),
    "coreutils": process(57, "/usr/bin/coreutils", ("/usr/bin/sleep", "5"), name="sleep"),
    "k3s containerd": process(58, "/var/lib/rancher/k3s/data/0/bin/k3s", ("containerd",), name="containerd"),
    "python daemon": process(59, "/usr/bin/python3.11", ("/usr/bin/python3", "/usr/bin/fail2ban-server")),
    "python title": process(60, "/usr/bin/python3.11", ("/usr/sbin/cron", "-f"), name="cron"),
    "perl": process(61, "/usr/bin/perl", ("/usr/sbin/smartd",), name="smartd"),
    "java": process(62, "/usr/lib/jvm/java-17-openjdk-amd64/bin/java", ("/usr/bin/java", "-jar", "x.jar")),
    "node": process(63, "/home/kim/.nvm/versions/node/v20.1.0/bin/node", ("/usr/bin/node",), name="MainThread"),
    "qemu-user": process(64, "/usr/bin/qemu-aarch64-static", ("/usr/sbin/cron",), name="cron"),
    "loader": process(65, "/usr/lib64/ld-linux-x86-64.so.2", ("/usr/sbin/cron",), name="cron"),
    "dhclient": process(66, "/usr/sbin/dhclient", ("/sbin/dhclient", "-4", "eth0")),
    "upgraded": process(67, "/usr/sbin/rsyslogd", ("/usr/sbin/rsyslogd", "-n"), deleted=True, replaced=True),
    "in a container": process(68, "/usr/sbin/nginx", ("nginx: master process nginx",), filesystem="overlay"),
    "snap": process(69, "/snap/lxd/1/bin/lxcfs", ("/snap/lxd/current/bin/lxcfs",)),
    "runc": process(70, "/memfd:runc_cloned:/proc/self/exe", ("runc", "init"), name="runc:[2:INIT]", memfd=True),
    "NixOS wrapper": process(71, "/run/wrappers/wrappers.ab/sudo", ("/run/wrappers/bin/sudo",)),
    "chrome": process(72, "/opt/google/chrome/chrome", ("/opt/google/chrome/chrome --type=renderer",)),
    "go run": process(73, "/tmp/go-build1/b001/exe/main", ("/tmp/go-build1/b001/exe/main",)),  # noqa: S108
    "own script in /tmp": process(74, "/tmp/x", ("./x",)),  # noqa: S108
    "merged /usr": process(75, "/usr/sbin/cron", ("/sbin/cron",)),
    "no arguments": process(76, "/usr/bin/tool", ()),
    "arguments unreadable": process(77, "/usr/bin/tool", Unavailable(reason=Reason.REFUSED)),
    "executable unreadable": process(78, "/x", ("udevd",), executable=Unavailable(reason=Reason.REFUSED)),
    "claims a home path": process(79, "/home/kim/x", ("/home/kim/y",)),
    "a blank in the path": process(81, "/opt/cron daemon/x", ("/opt/cron daemon/x", "-f")),
    "same name elsewhere": process(80, "/home/kim/bin/rg", ("/usr/bin/rg",)),
}


@pytest.mark.parametrize("seen", QUIET.values(), ids=QUIET)
def test_ordinary_names_are_quiet(seen: Process) -> None:
    """Software that names itself in the ordinary ways is left alone."""
    assert detect(inventory(seen)) == ()


def test_an_interpreter_where_no_package_puts_one_is_no_excuse() -> None:
    """A program called python in shared memory may not have any name it likes."""
    assert found(process(812, "/dev/shm/python3", ("/usr/sbin/cron",)))  # noqa: S108


def test_a_false_runc_is_held_to_its_name() -> None:
    """A memfd that names itself like runc's copy is no runtime if it claims to be a daemon."""
    seen: dict[str, Any] = {"memfd": True, "name": "udevd"}
    assert found(process(812, "/memfd:runc_cloned:/proc/self/exe", ("/sbin/udevd",), **seen))


def test_one_finding_for_one_process() -> None:
    """A process that lies in several ways is told once, under its strongest lie."""
    (finding,) = found(process(812, SHM, ("[kworker/0:0]",), name="udevd"))
    assert finding.confidence == 0.97
    assert detect(inventory(process(812, "/usr/bin/x"), socket(5, (812,)))) == ()


def test_a_script_that_captures_under_a_daemons_name_is_suspicious() -> None:
    """An interpreter that gave itself a daemon's title is left alone, unless it holds a packet socket."""
    poser = process(812, "/usr/bin/python3.11", ("/sbin/auditd", "-n"), name="auditd")
    kinds = {finding.kind for finding in detect(inventory(poser, socket(5, (812,))))}
    assert kinds == {FindingKind.MASQUERADE}
    emulated = process(812, "/usr/bin/qemu-aarch64-static", ("/sbin/auditd", "-n"), name="auditd")
    assert detect(inventory(emulated, socket(5, (812,)))) == ()
    assert detect(inventory(poser)) == ()


@pytest.mark.parametrize("name", ["kworker/0:1", "[kworker/0:1]", "[kswapd0]"])
def test_a_kernel_threads_name_with_empty_arguments_is_found(name: str) -> None:
    """Whether or not the name brings the brackets that ps would add, a program with empty arguments is no thread."""
    (finding,) = found(process(812, "/usr/bin/tail", (), name=name))
    assert (finding.verdict, finding.confidence) == (Verdict.MALICIOUS, 0.97)
