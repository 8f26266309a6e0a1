"""Plants violations and checks that includes.py finds each, and nothing else."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import includes  # noqa: E402


class IncludesTest(unittest.TestCase):
    def violations(self, name, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            path = root / name
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
            return list(includes.check_file(root, path))

    def assert_found(self, name, text, line=1):
        found = self.violations(name, text)
        self.assertEqual(len(found), 1, (name, text, found))
        self.assertTrue(found[0].startswith(f"{name}:{line}: "), found)

    def assert_clean(self, name, text):
        self.assertEqual(self.violations(name, text), [])

    def test_every_arrow(self):
        order = ["segment", "state", "stream", "api", "app"]
        allowed = {"segment": 1, "state": 2, "stream": 3, "app": 5}
        for folder in order:
            for other in order:
                text = f'#include "{other}/x.h"\n'
                may = (other in ("segment", "state", "api") if folder == "api"
                       else order.index(other) < allowed[folder])
                with self.subTest(folder=folder, other=other):
                    if may:
                        self.assert_clean(f"{folder}/x.cc", text)
                    else:
                        self.assert_found(f"{folder}/x.cc", text)

    def test_nobody_uses_tests(self):
        for folder in ("segment", "state", "stream", "api", "app"):
            self.assert_found(f"{folder}/x.h", '#include "tests/unit/x.h"\n')

    def test_line_is_named(self):
        self.assert_found("segment/x.h", '#include <string>\n\n#  include "state/x.h"\n', line=3)

    def test_core_is_pure(self):
        for header in ("thread", "mutex", "chrono", "iostream", "fstream", "cstdio", "random",
                       "unistd.h", "sys/time.h", "spdlog/spdlog.h", "absl/time/clock.h",
                       "absl/synchronization/mutex.h", "librdkafka/rdkafka.h", "rocksdb/db.h",
                       "grpcpp/grpcpp.h", "grpc/grpc.h", "prometheus/counter.h"):
            with self.subTest(header=header):
                self.assert_found("segment/x.cc", f"#include <{header}>\n")
        for header in ("string", "vector", "cstdint", "re2/re2.h", "absl/time/time.h", "time_zone.h"):
            self.assert_clean("segment/x.cc", f"#include <{header}>\n")

    def test_libraries_have_one_home(self):
        self.assert_clean("state/x.cc", "#include <rocksdb/db.h>\n")
        self.assert_found("stream/x.cc", "#include <rocksdb/db.h>\n")
        self.assert_clean("stream/x.cc", "#include <librdkafka/rdkafka.h>\n")
        self.assert_found("state/x.cc", "#include <librdkafka/rdkafka.h>\n")
        self.assert_clean("api/x.cc", '#include "proto/segments/v1/segment_service.grpc.pb.h"\n')
        self.assert_found("stream/x.cc", '#include "proto/segments/v1/segment_service.grpc.pb.h"\n')
        self.assert_found("api/x.cc", "#include <CLI/CLI.hpp>\n")
        self.assert_clean("tests/kafka/x.cc", "#include <librdkafka/rdkafka.h>\n")

    def test_mutexes_are_the_standard_ones(self):
        for folder in ("state", "stream", "api", "app", "tests/unit"):
            self.assert_found(f"{folder}/x.cc", '#include "absl/synchronization/mutex.h"\n')
            self.assert_clean(f"{folder}/x.cc", "#include <mutex>\n")

    def test_clocks(self):
        for call in ("absl::Now()", "std::chrono::system_clock::now()", "steady_clock::now()",
                     "time(nullptr)", "std::time (nullptr)", "clock_gettime(CLOCK_REALTIME, &t)"):
            with self.subTest(call=call):
                self.assert_found("segment/x.cc", f"auto t = {call};\n")
                self.assert_found("state/x.cc", f"auto t = {call};\n")
                self.assert_clean("stream/x.cc", f"auto t = {call};\n")
        self.assert_found("api/x.cc", "auto t = absl::Now();\n")
        self.assert_clean("segment/x.cc", "auto t = event.time(0); auto u = event_time(0);\n")

    def test_tests_do_not_sleep(self):
        self.assert_found("tests/unit/x_test.cc", "std::this_thread::sleep_for(1s);\n")
        self.assert_found("tests/simulation/x_test.cc", "absl::SleepFor(absl::Seconds(1));\n")
        self.assert_clean("tests/kafka/x_test.cc", "absl::SleepFor(absl::Milliseconds(10));\n")

    def test_includes_start_at_the_root(self):
        self.assert_found("segment/x.cc", '#include "x.h"\n')
        self.assert_found("segment/x.cc", '#include "../segment/x.h"\n')
        self.assert_clean("segment/x.cc", "#include <simdjson.h>\n")
        self.assert_clean("segment/x.cc", '#include "simdjson.h"\n')

    def test_comments_and_strings_do_not_count(self):
        self.assert_clean("segment/x.cc", '// #include "state/x.h" and absl::Now()\n')
        self.assert_clean("segment/x.cc", '/* one\n#include "state/x.h"\n*/\n')
        self.assert_found("segment/x.cc", 's = "/*";\n#include "state/x.h"\n// */\n', line=2)
        self.assert_found("segment/x.cc", 's = R"(a " //)";\n#include "state/x.h"\n', line=2)

    def test_nothing_to_scan_is_a_failure(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(includes.main([folder]), 1)

    def test_a_planted_file_fails_the_run(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "segment", "deep", "x.h")
            path.parent.mkdir(parents=True)
            path.write_text("#include <string>\n", encoding="utf-8")
            self.assertEqual(includes.main([folder]), 0)
            path.write_text('#include "state/x.h"\n', encoding="utf-8")
            self.assertEqual(includes.main([folder]), 1)


if __name__ == "__main__":
    unittest.main()
