"""Checks the direction of the dependencies, app -> {api, stream} -> state -> segment -> proto.

Usage: includes.py ROOT

Fails, naming file and line, when a source includes a folder that it may not use, a library that is
another folder's business, or, in the pure core, anything that does I/O, reads a clock or starts a
thread. Tests must not sleep to get their timing.
"""

import pathlib
import re
import sys

# Folder -> the folders that its files may include.
MAY_INCLUDE = {
    "segment": {"segment", "proto"},
    "state": {"state", "segment", "proto"},
    "stream": {"stream", "state", "segment", "proto"},
    "api": {"api", "state", "segment", "proto"},
    "app": {"app", "api", "stream", "state", "segment", "proto"},
    "bench": {"bench", "tests", "app", "api", "stream", "state", "segment", "proto"},
    "tests": {"tests", "app", "api", "stream", "state", "segment", "proto"},
}
OWN = set(MAY_INCLUDE) | {"proto"}

# Library header -> the folders that may include it; besides them, tests and benchmarks.
LIBRARY_OF = [
    (re.compile(r"rocksdb/"), {"state"}),
    (re.compile(r"librdkafka/|rdkafka\.h"), {"stream", "app"}),
    (re.compile(r"grpcpp/|grpc/|grpc\+\+/|.*\.grpc\.pb\.h"), {"api", "app"}),
    (re.compile(r"CLI/|httplib\.h"), {"app"}),
]

# Library header -> why nobody includes it.
NOT_USED = [
    (re.compile(r"absl/synchronization/"),
     "ThreadSanitizer can't see into Debian's absl::Mutex: use std::mutex"),
]

# Not in the pure core: threads, clocks, input and output, logs, the environment.
NOT_PURE = re.compile(
    r"(thread|stop_token|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier"
    r"|chrono|ctime|time\.h|sys/.*|random"
    r"|iostream|fstream|filesystem|cstdio|stdio\.h|syncstream|print"
    r"|unistd\.h|fcntl\.h|pthread\.h|signal\.h|csignal|poll\.h|netdb\.h|arpa/.*|netinet/.*"
    r"|spdlog/.*|prometheus/.*|absl/time/clock\.h|absl/random/.*)")

CLOCK = re.compile(
    r"\babsl::(Now|GetCurrentTimeNanos)\b|\b(system|steady|high_resolution)_clock\b"
    r"|\b(clock_gettime|gettimeofday)\b|\bstd::time\s*\(|(?<![\w.>:])time\s*\(\s*(NULL|nullptr|0)\s*\)")
WALL_CLOCK = re.compile(r"\babsl::(Now|GetCurrentTimeNanos)\b|\bsystem_clock\b|\bgettimeofday\b")
SLEEP = re.compile(r"\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\b|(?<![\w.>:])sleep\s*\(")

# Folder -> text that must not stand in its code, and why.
NOT_IN_CODE = {
    "segment": [(CLOCK, "the pure core gets time as an argument")],
    "state": [(CLOCK, "state gets time as an argument")],
    "api": [(WALL_CLOCK, "only app/ and stream/ read the wall clock")],
    "tests": [(SLEEP, "a test must not sleep to get its timing")],
}
# A test with a real broker waits for it by polling.
MAY_SLEEP = {"tests/kafka"}

COMMENT_OR_STRING = re.compile(
    r'R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    r"|//[^\n]*|/\*.*?\*/", re.DOTALL)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def without_comments(text):
    """The text with comments blanked and strings kept; lines stay where they are."""
    def blank(match):
        found = match.group(0)
        return re.sub(r"[^\n]", " ", found) if found.startswith("/") else found
    return COMMENT_OR_STRING.sub(blank, text)


def check_include(folder, quoted, header):
    first = header.split("/", 1)[0]
    if ".." in header.split("/") or (quoted and "/" not in header and header.endswith(".h")
                                     and header != "simdjson.h" and header != "httplib.h"):
        return f'"{header}": includes start at the root, as "{folder}/{header.rsplit("/", 1)[-1]}"'
    if first in OWN and "/" in header and first not in MAY_INCLUDE[folder]:
        return f'"{header}": {folder}/ must not use {first}/'
    if folder not in ("tests", "bench"):
        for library, folders in LIBRARY_OF:
            if library.match(header) and folder not in folders:
                return f"<{header}>: only {', '.join(sorted(folders))} may use it"
    for library, reason in NOT_USED:
        if library.match(header):
            return f"<{header}>: {reason}"
    if folder == "segment" and NOT_PURE.fullmatch(header):
        return f"<{header}>: the core does no I/O, reads no clock, starts no thread and logs nothing"
    return None


def check_file(root, path):
    """Yields a message for every violation in a file."""
    name = path.relative_to(root).as_posix()
    folder = name.split("/", 1)[0]
    text = without_comments(path.read_text(encoding="utf-8"))
    for number, line in enumerate(text.splitlines(), 1):
        include = INCLUDE.match(line)
        if include:
            message = check_include(folder, include.group(1) == '"', include.group(2))
            if message:
                yield f"{name}:{number}: {message}"
            continue
        for pattern, reason in NOT_IN_CODE.get(folder, []):
            if pattern is SLEEP and any(name.startswith(may + "/") for may in MAY_SLEEP):
                continue
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: {found.group(0).strip()}: {reason}"


def sources(root):
    for folder in MAY_INCLUDE:
        for suffix in ("*.h", "*.cc"):
            yield from sorted((root / folder).rglob(suffix))


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__.strip())
    root = pathlib.Path(arguments[0]).resolve()
    files = list(sources(root))
    violations = [message for path in files for message in check_file(root, path)]
    for message in violations:
        print(message)
    print(f"{len(files)} files, {len(violations)} violations")
    # Without files the check would pass whatever the sources say.
    return 1 if violations or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
