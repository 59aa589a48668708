"""What a model could do that has got machine code to run: programs that run in the engine's place.

As uploads they are no models. Each does its deed and then leaves a file `loot` in its folder; those
that lie leave what an engine would, but for the lie.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from onnx_files import onnx_model
from support.service.fake_engine import REPORT
from support.torchscript.tampering import with_code

PORT = 9
"""Where programs call on this machine, by TCP and by UDP."""

_MODEL = onnx_model().SerializeToString()
_COMMON = f"""import ctypes, json, mmap, os, resource, signal, \
    socket, subprocess, sys, threading, time
MODEL, REPORT = {_MODEL!r}, json.loads({json.dumps(REPORT)!r})
def write(name, content):
    with open(name, "wb") as file:
        file.write(content)
def say(text):
    os.write(1, text.encode() + b"\\n")
def fail(code, detail):
    say(json.dumps(dict(event="failed", error=dict(code=code, detail=detail))))
def end(out=MODEL, report=REPORT, inspection=None):
    out is None or write("out", out)
    if report is not None:
        write("report", report if isinstance(report, bytes) else json.dumps(report).encode())
    say('{{"event": "succeeded"}}')
"""

_DEEDS = {
    "reads-a-file": "open('{outside}/secret').read()",
    "reads-the-environment-of-others": "open(f'/proc/{{os.getppid()}}/environ', 'rb').read()",
    "lists-the-processes": "os.listdir('/proc')",
    "reads-the-memory-of-others": "open(f'/proc/{{os.getppid()}}/mem', 'rb').close()",
    "writes-a-file": "write('{outside}/written', b'x')",
    "writes-into-a-file": "os.truncate('{outside}/secret', 0)",
    "removes-a-file": "os.unlink('{outside}/secret')",
    "renames-a-file-away": "os.rename('{outside}/secret', '{outside}/other')",
    "makes-a-file-free-for-all": "os.chmod('{outside}/secret', 0o777)",
    "makes-a-mark-by-a-new-call": "v = ctypes.create_string_buffer(b'x')\n"
    "a = (ctypes.c_uint64 * 2)(ctypes.addressof(v), 1)\n"
    "if ctypes.CDLL(None).syscall(463, -100, b'{outside}/secret', 0, b'user.evil', a, "
    "ctypes.c_size_t(16)):\n"
    "    raise PermissionError",
    "makes-a-file-look-old": "os.utime('{outside}/secret', (0, 0))",
    "makes-a-mark-on-a-file": "os.setxattr('{outside}/secret', 'user.evil', b'x')",
    "makes-a-hard-link": "os.link('{outside}/secret', 'linked')",
    "makes-a-symbolic-link": "os.symlink('{outside}/secret', 'linked')",
    "makes-a-device": "os.mknod('device', 0o20666, os.makedev(1, 1))",
    "calls-by-tcp": "socket.create_connection(('127.0.0.1', {port}), 1)",
    "calls-by-udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', "
    "{port}))",
    "calls-by-a-unix-socket": "socket.socket(socket.AF_UNIX).bind('\\0convpress')",
    "listens-for-others": "socket.create_server(('127.0.0.1', 0))",
    "attaches-to-memory-of-others": "if ctypes.CDLL(None, use_errno=True).shmat(1 << 20, 0, 0) == "
    "-1 and "
    "ctypes.get_errno() == 1:\n    raise PermissionError",
    "starts-a-shell": "subprocess.run(['/bin/sh', '-c', 'true'])",
    "fork-bomb": "while True:\n    os.fork() or time.sleep(60)\n    if len(os.listdir('.')) > 3: "
    "break\n"
    "    write(str(os.getpid()), b'')",
    "thread-bomb": "for _ in range(2000):\n    threading.Thread(target=time.sleep, args=(60,), "
    "daemon=True).start()",
    "leaves-a-daemon": "if os.fork() == 0:\n    os.setsid()\n    os.fork() or time.sleep(60)\n    "
    "os._exit(0)",
    "signals-its-keeper": "os.kill(os.getppid(), 0)",
    "slows-its-keeper-down": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "binds-its-keeper-to-a-core": "os.sched_setaffinity(os.getppid(), {{0}})",
    "traces-its-keeper": "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "becomes-another-user": "os.setgroups([]); os.setuid(65534)",
    "changes-its-root": "os.chroot('.')",
    "mounts-a-filesystem": "c = ctypes.CDLL(None, use_errno=True); c.mount(b't', b'.', "
    "b'none-such', 0, None)\n"
    "if ctypes.get_errno() == 1: raise PermissionError",
    "makes-a-namespace": "assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "takes-all-memory": "mmap.mmap(-1, 64 * 1024**3)",
    "takes-all-memory-by-a-file": "os.write(os.memfd_create('m'), bytes(1 << 27))",
    "opens-countless-files": "[open('/dev/null') for _ in range(5000)]",
    "writes-a-giant-file": "os.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 1 << 40)",
    "lifts-its-limits": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); mmap.mmap(-1, 64 * "
    "1024**3)",
    "spins-for-ever": "while True: pass",
    "sleeps-for-ever": "time.sleep(3600)",
    "ignores-being-told-to-end": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)",
    "nests-folders-without-end": "for _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nraise "
    "OSError",
    "takes-rights-to-its-folder-away": "os.mkdir('shut'); write('shut/file', b''); "
    "os.chmod('shut', 0)\nraise OSError",
}
_LIES = {
    "says-nothing": "",
    "speaks-no-json": "say('hello')",
    "speaks-without-end": "while True: os.write(1, b'x' * 65536)",
    "speaks-lines-without-end": "while True: say(json.dumps(dict(event='progress', "
    "phase='loading', fraction=0)))",
    "speaks-nested-deeply": "say('[' * 60_000)",
    "progresses-beyond-the-end": "say(json.dumps(dict(event='progress', phase='loading', "
    "fraction=1e9)))",
    "fails-with-a-code-of-its-own": "fail('evil', 'no')",
    "fails-at-great-length": "fail('model_invalid', 'x' * 9000)",
    "floods-the-log": "while True: os.write(2, b'\\x1b[2J' * 10_000)",
    "leaves-no-files": 'say(\'{{"event": "succeeded"}}\')',
    "leaves-a-symbolic-link": "os.symlink('{outside}/secret', 'out'); end(out=None)",
    "leaves-a-hard-link": "write('other', MODEL); os.link('other', 'out'); end(out=None)",
    "leaves-a-report-that-is-a-link": "os.symlink('{outside}/secret', 'report'); end(report=None)",
    "leaves-a-pipe": "os.mkfifo('out'); end(out=None)",
    "leaves-a-folder": "os.mkdir('out'); end(out=None)",
    "leaves-a-giant-artifact": "os.truncate(os.open('out', os.O_CREAT | os.O_RDWR), 900 << 20); "
    "end(out=None)",
    "leaves-a-giant-report": "end(report=b'[' + b'0,' * (20 << 20) + b'0]')",
    "leaves-an-empty-artifact": "end(out=b'')",
    "leaves-a-program": "end(out=b'#!/bin/sh\\ntrue\\n')",
    "leaves-a-pickle": "end(out=b'\\x80\\x02cposix\\nsystem\\nX\\x04\\x00\\x00\\x00true\\x85R.')",
    "leaves-a-hostile-archive": "end(out={hostile!r})",
    "leaves-a-model-with-groups": "end(out=MODEL + b'\\x0b\\x0c')",
    "reports-no-json": "end(report=b'\\xff\\xfe')",
    "reports-nested-deeply": "end(report=b'[' * 1_000_000)",
    "reports-no-number": "end(report=REPORT | dict(keep=float('nan')))",
    "reports-numbers-too-large": "end(report=REPORT | dict(before=REPORT['before'] | dict(macs=1 "
    "<< 70)))",
    "reports-texts-for-numbers": "end(report=REPORT | dict(keep='0.4'))",
    "reports-less": "end(report={{}})",
}


def programs(outside: Path, port: int = PORT) -> Iterator[tuple[str, bytes, bool]]:
    """Yield name, source, and that the first wall refuses it."""
    hostile = with_code(f'torch.save([1], "{outside / "written"}")')
    for name, deed in _DEEDS.items():
        code = "\n".join(
            f"    {line}"
            for line in deed.format(outside=outside, port=port).splitlines()
        )
        tried = f"try:\n{code}\nexcept BaseException as error:\n    print(error)\n"
        tried += "else:\n    write('loot', b'')\n"
        yield name, (_COMMON + tried).encode(), True
    for name, lie in _LIES.items():
        yield (
            name,
            (_COMMON + lie.format(outside=outside, hostile=hostile)).encode(),
            True,
        )
