"""A SLURM of three nodes on this machine, each with a fake GPU; it ends with who started it.

It lives in namespaces of its own (mounts, network, processes, host name). So it cannot meet another
SLURM of the machine: its /etc/slurm is a folder of its own that nobody else sees, its ports are on
a loopback of its own, and the end of its first process is the end of all. Each node is a process
namespace inside it, so that a node dies as a machine does: at once, with all its jobs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NODES = ("n1", "n2", "n3")
COMMANDS = ("munged", "slurmctld", "slurmd", "srun", "squeue", "unshare", "nsenter", "setpriv")
ETC = Path("/etc/slurm")  # where Debian's SLURM looks; SLURM_CONF does not reach the inner srun
NAMESPACES = ("--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
START = 60  # seconds

# Nodes claim more cores and memory than there are (config_overrides); a dead one is noticed soon.
# SLURM polls and waits for seconds in many places: here as little as it can be told to.
SLURM_CONF = """
ClusterName=cleave
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MinJobAge=3600
SlurmdTimeout=10
KillWait=1
ReturnToService=2
MailProg=/bin/true
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 "
    "RealMemory=256000 Gres=gpu:1 State=UNKNOWN"
)


def missing() -> str | None:
    """Why no cluster can be started here; None: it can."""
    if os.geteuid() != 0:
        return "SLURM's daemons and namespaces need root"
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (make test-slurm installs what Debian has)"
    if not ETC.is_dir():
        return f"no {ETC}: a SLURM that is not Debian's reads its files elsewhere"
    found = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
    return f"no namespaces: {found.stderr.strip()}" if found.returncode else None


class Cluster:
    """The running cluster; `folder` must be empty, and its path short (a socket lies in it)."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._configure()
        # The signal at the death of the parent reaches unshare, whose end is that of all below.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES]
        command += [sys.executable, __file__, str(folder)]
        with (folder / "init.log").open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )

    def _configure(self) -> None:
        etc = self.folder / "etc"
        etc.mkdir()
        (self.folder / "state").mkdir()
        nodes = [NODE.format(name=name, port=17001 + i) for i, name in enumerate(NODES)]
        content = SLURM_CONF.format(folder=self.folder, nodes="\n".join(nodes))
        (etc / "slurm.conf").write_text(content)
        (etc / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (etc / "gres.conf").write_text(f"Name=gpu File={self.folder}/nvidia0\n")
        # SLURM wants a character device; this one is the machine's /dev/null.
        os.mknod(self.folder / "nvidia0", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)

    def inside(self, *command: str, folder: Path = Path("/")) -> list[str]:
        """The command line that runs a command where the cluster is, in a folder."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (first,) = children.read_text().split()
        here = ["--mount", "--net", "--uts", "--pid", f"--wd={folder}"]
        return ["nsenter", "--target", first, *here, *command]

    def ask(self, *command: str) -> str:
        """What a command prints there."""
        return subprocess.run(
            self.inside(*command), check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def wait(self) -> None:
        """Returns when all nodes are idle.

        Raises:
            RuntimeError: they are not, in a minute; with what the daemons logged.
        """
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(subprocess.CalledProcessError, ValueError):
                if self.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == (
                    ["idle"] * len(NODES)
                ):
                    return
            time.sleep(0.2)
        logs = [f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log")]
        raise RuntimeError("SLURM did not start\n" + "\n".join(logs))

    def kill(self, node: str) -> None:
        """Ends a node as a power cut does: its slurmd, and with it all processes of its jobs."""
        self.ask("kill", "-KILL", (self.folder / f"{node}.pid").read_text())

    def stop(self) -> None:
        """Ends everything that was started, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose nodes are idle; gone at the end, also after an error or Ctrl-C."""
    started = Cluster(folder)
    try:
        started.wait()
        yield started
    finally:
        started.stop()


def _network() -> None:
    """Brings the loopback up, and gives it an address more.

    getaddrinfo as SLURM calls it (AI_ADDRCONFIG) finds nothing where all is 127.0.0.1.
    """
    address = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, socket.inet_aton("192.0.2.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8916, address)  # SIOCSIFADDR


def serve(folder: Path) -> None:
    """The first process of the namespaces: starts the daemons, then buries whoever dies."""
    subprocess.run(["mount", "--bind", folder / "etc", ETC], check=True)
    socket.sethostname("localhost")
    _network()
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file")]
    munge += [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    subprocess.run(["munged", "--force", *munge], check=True)
    subprocess.Popen(["slurmctld", "-D", "-c"])
    for node in NODES:
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        started = subprocess.Popen([*own, "slurmd", "-D", "-N", node])
        (folder / f"{node}.pid").write_text(str(started.pid))
    while True:
        with contextlib.suppress(ChildProcessError):
            os.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
