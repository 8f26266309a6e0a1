// segctl as people run it: arguments, output and exit status, as far as that needs no server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "tests/unit/segctl_process.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

std::string Booked() {
  return FileWith(
      "booked.yaml",
      "id: booked\nname: Booked\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
}

std::string Wrong() {
  return FileWith("wrong.yaml", "id: wrong\nname: Wrong\nlive: { actions: { any_of: [] } }\n");
}

// What stands under a heading of a help text, up to an empty line.
std::vector<std::string> Listed(const std::string& help, const std::string& heading) {
  std::vector<std::string> lines;
  const size_t at = help.find("\n" + heading + ":\n");
  if (at == std::string::npos) return lines;
  std::istringstream text(help.substr(at + heading.size() + 3));
  for (std::string line; std::getline(text, line) && !line.empty();) lines.push_back(line);
  return lines;
}

TEST(Segctl, HelpWithExamplesIsThereForEveryCommand) {
  // With the examples of the one above, which CLI11 shows where a command has none of its own.
  struct Command {
    std::string name;
    std::vector<std::string> inherited;
  };
  std::deque<Command> left = {{"", {}}};
  std::vector<std::string> seen;
  for (; !left.empty(); left.pop_front()) {
    const auto& [command, inherited] = left.front();
    const SegctlResult result = Segctl(command + " --help 2>&1");
    EXPECT_EQ(result.status, 0) << command;
    EXPECT_THAT(result.text, HasSubstr("Usage:")) << command;
    const std::vector<std::string> examples = Listed(result.text, "Examples");
    EXPECT_THAT(examples, Contains(StartsWith("  segctl" + command + " "))) << command;
    EXPECT_NE(examples, inherited) << command;
    seen.push_back(command);
    for (const std::string& line : Listed(result.text, "Subcommands")) {
      const size_t name = line.find_first_not_of(' ');
      left.push_back({command + " " + line.substr(name, line.find(' ', name) - name), examples});
    }
  }
  EXPECT_THAT(seen, IsSupersetOf({" segment create", " member explain", " watch", " replay"}));
}

TEST(Segctl, WrongUseIsTwo) {
  for (const char* arguments :
       {"", "segment", "nonsense", "segment create", "member check only-one", "replay --events -",
        "produce x --speed 0", "produce x --speed 2 --keep-times", "segment list --type odd",
        "watch --from x", "segment get x --timeout soon", "segment get x --tls-cert a.pem"}) {
    EXPECT_EQ(Segctl(std::string(arguments) + " 2>&1 </dev/null").status, 2) << arguments;
  }
}

TEST(Segctl, NoServerIsThreeAndSaysWhere) {
  SKIP_UNDER_THREAD_SANITIZER();
  for (const char* arguments : {"segment list", "segment get x", "member count x", "watch"}) {
    const SegctlResult result = Segctl(std::string(arguments) + " --timeout 2s 2>&1");
    EXPECT_EQ(result.status, 3) << arguments;
    EXPECT_THAT(result.text, HasSubstr("127.0.0.1:1")) << arguments;
  }
}

TEST(Segctl, DefinitionsAreCheckedBeforeTheServerIsAsked) {
  const SegctlResult result = Segctl("segment create -f " + Wrong() + " 2>&1");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.text, HasSubstr("wrong.yaml:1: live.actions.any_of"));
}

TEST(Segctl, UpdateNeedsAnEtag) {
  const SegctlResult result = Segctl("segment update -f " + Booked() + " 2>&1");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.text, HasSubstr("--etag"));
}

TEST(Segctl, ValidateSaysNoByOne) {
  EXPECT_EQ(Segctl("segment validate --local -f " + Booked()).status, 0);
  const SegctlResult wrong = Segctl("segment validate --local -f " + Wrong());
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.text, HasSubstr("live.actions.any_of"));
  EXPECT_EQ(Segctl("segment validate --local -f /there/is/none 2>&1").status, 2);
}

TEST(Segctl, ReferencesInOneFileMustNotFormACycle) {
  const std::string file = FileWith("cycle.yaml",
                                    "id: a\nname: A\npast_behavior: { in_segment: b }\n---\n"
                                    "id: b\nname: B\npast_behavior: { not: { in_segment: c } }\n"
                                    "---\n"
                                    "id: c\nname: C\nlive:\n"
                                    "  actions: { any_of: [ { event: E } ] }\n"
                                    "  filter: { in_segment: a }\n---\n"
                                    "id: d\nname: D\npast_behavior: { in_segment: a }\n");
  const SegctlResult result = Segctl("segment validate --local -f " + file);
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.text, HasSubstr("cycle.yaml:1: past_behavior.in_segment: makes the segment "
                                     "refer to itself: a -> b -> c -> a; "));
  EXPECT_THAT(result.text,
              HasSubstr("cycle.yaml:9: live.filter.in_segment: makes the segment refer "
                        "to itself: c -> a -> b -> c; "));
  EXPECT_THAT(result.text, Not(HasSubstr("d -> ")));
  const std::string self =
      FileWith("self.yaml", "id: a\nname: A\npast_behavior: { in_segment: a }\n");
  EXPECT_THAT(Segctl("segment create -f " + self + " 2>&1").text, HasSubstr("a -> a"));
}

TEST(Segctl, ReplayNeedsTheSegmentsReferredTo) {
  const std::string outer =
      FileWith("outer.yaml", "id: outer\nname: Outer\npast_behavior: { in_segment: booked }\n");
  const std::string events = FileWith("outer.ndjson",
                                      "{\"type\":\"track\",\"userId\":\"u1\",\"event\":"
                                      "\"Booked\",\"timestamp\":\"2026-01-01\"}\n");
  const SegctlResult alone = Segctl("replay --segments " + outer + " --events " + events + " 2>&1");
  EXPECT_EQ(alone.status, 2);
  EXPECT_THAT(alone.text, HasSubstr("outer.yaml:1: past_behavior.in_segment: there is no segment "
                                    "\"booked\" in what was given"));
  // In whatever order.
  const SegctlResult both = Segctl("replay --segments " + outer + " --segments " + Booked() +
                                   " --events " + events + " 2>/dev/null");
  EXPECT_EQ(both.status, 0);
  EXPECT_THAT(both.text, HasSubstr(R"("segment_id":"booked")"));
  EXPECT_THAT(both.text, HasSubstr(R"("segment_id":"outer")"));
}

TEST(Segctl, ValidateReadsStandardInput) {
  EXPECT_EQ(Segctl("segment validate --local -f - < " + Booked()).status, 0);
}

TEST(Segctl, ReplayWritesChangesToStandardOutputAndTheSummaryToStandardError) {
  const std::string events = FileWith("events.ndjson",
                                      "{\"type\":\"track\",\"userId\":\"u1\",\"event\":\"Booked\","
                                      "\"timestamp\":\"2026-01-01\"}\nnonsense\n");
  const std::string command = "replay --segments " + Booked() + " --events " + events;
  const SegctlResult changes = Segctl(command + " 2>/dev/null");
  EXPECT_EQ(changes.status, 0);
  EXPECT_THAT(changes.text, HasSubstr(R"("segment_id":"booked")"));
  EXPECT_EQ(std::count(changes.text.begin(), changes.text.end(), '\n'), 1);
  const SegctlResult summary = Segctl(command + " 2>&1 >/dev/null");
  EXPECT_THAT(summary.text, HasSubstr("1 event of 1 user"));
  EXPECT_THAT(summary.text, HasSubstr("line 2: malformed_json"));
  EXPECT_THAT(summary.text, Not(HasSubstr("\x1b[")));

  const std::string output = testing::TempDir() + "segctl_test_changes.ndjson";
  EXPECT_THAT(Segctl(command + " --output " + output + " 2>/dev/null").text, IsEmpty());
  std::string line;
  std::getline(std::ifstream(output), line);
  EXPECT_EQ(line + "\n", changes.text);

  EXPECT_EQ(Segctl("replay --segments - --events " + events + " 2>/dev/null < " + Booked()).text,
            changes.text);
  EXPECT_EQ(Segctl("replay --segments " + Booked() + " --events - 2>/dev/null < " + events).text,
            changes.text);
}

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Segctl, ReplayDoesNotWriteOverWhatItReads) {
  const std::string line =
      R"({"type":"track","userId":"u1","event":"Booked","timestamp":"2026-01-01"})"
      "\n";
  const std::string events = FileWith("kept.ndjson", line);
  const std::string segments = Booked();
  const std::string definitions = Content(segments);
  const std::string link = testing::TempDir() + "segctl_test_link";
  const std::string hard_link = testing::TempDir() + "segctl_test_hard_link";
  ASSERT_EQ(system(("ln -sf " + events + " " + link).c_str()), 0);
  ASSERT_EQ(system(("ln -f " + events + " " + hard_link).c_str()), 0);
  const std::string replay = "replay --segments " + segments + " --events ";
  for (const std::string& arguments : {
           absl::StrCat(events, " --output ", events),
           absl::StrCat(events, " --output ", testing::TempDir(), "./segctl_test_kept.ndjson"),
           absl::StrCat(events, " --output ", link),
           absl::StrCat(events, " --output ", hard_link),
           absl::StrCat(link, " --output ", events),
           absl::StrCat("- --output ", events, " < ", events),
           absl::StrCat(events, " --output ", segments),
       }) {
    const SegctlResult result = Segctl(replay + arguments + " 2>&1");
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_THAT(result.text, HasSubstr("would be written over what is read")) << arguments;
    EXPECT_EQ(Content(events), line) << arguments;
    EXPECT_EQ(Content(segments), definitions) << arguments;
  }
  EXPECT_EQ(Segctl("replay --segments - --events " + events + " --output " + segments + " 2>&1 < " +
                   segments)
                .status,
            2);
  EXPECT_EQ(Content(segments), definitions);
  // As cat does: it would read its own changes without end.
  EXPECT_EQ(Segctl(replay + events + " 2>/dev/null >> " + events).status, 2);
  EXPECT_EQ(Content(events), line);
  // Nothing is lost where nothing is kept.
  EXPECT_EQ(Segctl(replay + "/dev/null --output /dev/null 2>&1").status, 0);
}

TEST(Segctl, ReplayReadsTheSampleData) {
  const std::string visits =
      FileWith("visits.yaml", "name: Blog\nlive: { page_visit: { url: { contains: /blog/ } } }\n");
  const SegctlResult result = Segctl("replay --json --segments " + visits +
                                     " --events data/web-visits.ndjson.gz 2>&1 >/dev/null");
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.text, HasSubstr(R"("events":4393,"users":1292)"));
  EXPECT_THAT(result.text, HasSubstr(R"("dead_letters":0)"));
}

TEST(Segctl, ReplayTellsWhatWasCutOff) {
  const std::string segments = FileWith("cut_off.yaml", R"(
name: Dates
live: { date_time: { property: dates } }
)");
  std::string dates;
  for (int i = 0; i < 1000; ++i) dates += (i == 0 ? "" : ",") + std::string("\"2026-01-01T00:00\"");
  const std::string events = FileWith(
      "cut_off.ndjson", R"({"type":"identify","userId":"u","timestamp":"2026-01-01T00:00:00Z",)"
                        R"("traits":{"dates":[)" +
                            dates + "]}}\n");
  const std::string command = "replay --segments " + segments + " --events " + events;
  EXPECT_THAT(Segctl(command + " 2>&1").text, HasSubstr("1 writes to profiles refused"));
  EXPECT_THAT(Segctl(command + " --json 2>&1").text, HasSubstr(R"("profile_writes_refused":1)"));
}

TEST(Segctl, ReplaySaysWhatIsWrongWithItsFiles) {
  EXPECT_EQ(Segctl("replay --segments " + Wrong() + " --events /dev/null 2>&1").status, 2);
  EXPECT_EQ(Segctl("replay --segments " + Booked() + " --events /there/is/none 2>&1").status, 2);
  EXPECT_EQ(
      Segctl("replay --segments " + Booked() + " --events /dev/null --until soon 2>&1").status, 2);
  const std::string damaged = testing::TempDir() + "segctl_test_damaged.gz";
  EXPECT_EQ(system(("head -c 5000 data/web-visits.ndjson.gz > " + damaged).c_str()), 0);
  const SegctlResult result =
      Segctl("replay --segments " + Booked() + " --events " + damaged + " 2>&1");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.text, HasSubstr("too early"));
}

TEST(Segctl, WhatCannotBeSentIsWrongUse) {
  const std::string list = "segment list --server 127.0.0.1:1 --timeout 1s ";
  for (const char* user : {"two\nlines", "Zo\u00eb\t", "\x7f", "Zo\xeb"}) {
    setenv("SEGCTL_USER", user, 1);
    const SegctlResult result = Segctl(list + "2>&1");
    unsetenv("SEGCTL_USER");
    EXPECT_EQ(result.status, 2) << user;
    EXPECT_THAT(result.text, HasSubstr("--user (SEGCTL_USER): ")) << user;
  }
  EXPECT_EQ(Segctl(list + "--user 'two\nlines' 2>&1").status, 2);
  for (const char* token : {"s\u00e9cret", "secret\nsecret", "secret secret", " \n"}) {
    const std::string file = FileWith("token", token);
    const SegctlResult result = Segctl(absl::StrCat(list, "--token-file ", file, " 2>&1"));
    EXPECT_EQ(result.status, 2) << token;
    EXPECT_THAT(result.text, HasSubstr(file + " must hold one token")) << token;
    EXPECT_THAT(result.text, Not(HasSubstr("cret"))) << token;
  }
  const SegctlResult bytes = Segctl("member check booked \"$(printf 'u\\377')\" 2>&1");
  EXPECT_EQ(bytes.status, 2);
  EXPECT_THAT(bytes.text, HasSubstr("\"u\\xff\" is not UTF-8"));
}

TEST(Segctl, AFileMayHaveANameThatIsNotUtf8) {
  const std::string good = FileWith(
      "Gr\xfc\xdf"
      "e.yaml",
      "id: booked\nname: Booked\nlive: { actions: { any_of: [ { "
      "event: Booked } ] } }\n");
  const std::string wrong =
      FileWith("f\xfcr.yaml", "id: wrong\nname: Wrong\nlive: { actions: { any_of: [] } }\n");
  EXPECT_EQ(Segctl("segment validate --local -f " + good + " 2>&1").status, 0);
  EXPECT_EQ(Segctl("replay --segments " + good + " --events /dev/null 2>&1").status, 0);
  for (const char* command : {"segment validate --local -f ", "segment validate --json --local -f ",
                              "segment create -f ", "replay --events /dev/null --segments "}) {
    const SegctlResult result = Segctl(command + wrong + " 2>&1");
    EXPECT_THAT(result.text, HasSubstr("\\xfcr.yaml:1")) << command;
    EXPECT_THAT(result.text, HasSubstr("live.actions.any_of")) << command;
    EXPECT_THAT(result.text, Not(HasSubstr("\xfc"))) << command;
  }
  for (const char* command : {"segment get x --tls-ca ", "produce ", "segment create -f ",
                              "replay --segments /dev/null --events "}) {
    const SegctlResult result = Segctl(std::string(command) + "/n\xfcll 2>&1");
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_THAT(result.text, Not(HasSubstr("\xfc"))) << command;
  }
  EXPECT_THAT(Segctl("produce /n\xfcll 2>&1").text, HasSubstr("/n\\xfcll: No such file"));
  EXPECT_THAT(Segctl("segment list --n\xfcll 2>&1").text,
              StartsWith("segctl: there is no option --n\\xfcll\n"));
}

TEST(Segctl, StandardInputIsReadOnce) {
  const SegctlResult both = Segctl("replay --segments - --events - 2>&1 < " + Booked());
  EXPECT_EQ(both.status, 2);
  EXPECT_THAT(both.text, HasSubstr("only once"));
  const SegctlResult twice = Segctl("segment validate --local -f - -f - 2>&1 < " + Booked());
  EXPECT_EQ(twice.status, 2);
  EXPECT_THAT(twice.text, HasSubstr("only once"));
}

TEST(Segctl, NumbersOutOfRangeAreSaidInFewWords) {
  for (const char* command :
       {"watch --count -1", "segment list --limit x", "member list a --limit -5",
        "produce a --speed 0", "produce a --speed nan"}) {
    const SegctlResult result = Segctl(std::string(command) + " 2>&1");
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_THAT(result.text, HasSubstr("write a ")) << command;
    EXPECT_LT(result.text.size(), 200U) << result.text;
  }
}

TEST(Segctl, ATimeoutIsLongerThanNothing) {
  for (const char* command : {"segment list", "watch", "produce x"}) {
    const SegctlResult none = Segctl(std::string(command) + " --timeout 0s 2>&1");
    EXPECT_EQ(none.status, 2) << command;
    EXPECT_THAT(none.text, StartsWith("segctl: --timeout: 0s is not between 1ms and ")) << command;
    EXPECT_EQ(Segctl(std::string(command) + " --timeout 5w 2>&1").status, 2) << command;
    EXPECT_EQ(Segctl(std::string(command) + " --timeout=-1s 2>&1").status, 2) << command;
  }
}

TEST(Segctl, AnUnknownOptionIsNamedAlone) {
  for (const char* command :
       {"segment list --no-such 127.0.0.1:1", "segment list 5 --no-such=5 --search x",
        "--no-such member check a b", "produce x y --no-such"}) {
    const SegctlResult result = Segctl(std::string(command) + " 2>&1");
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_THAT(result.text, StartsWith("segctl: there is no option --no-such\n")) << command;
  }
  EXPECT_THAT(Segctl("nonsense 2>&1").text, StartsWith("segctl: not expected: nonsense\n"));
  EXPECT_THAT(Segctl("member check a b c d 2>&1").text, StartsWith("segctl: not expected: c d\n"));
}

TEST(Segctl, ProduceWithoutABrokerIsThree) {
  const std::string events = FileWith(
      "produced.ndjson",
      "{\"type\":\"track\",\"userId\":\"u1\",\"event\":\"Booked\",\"timestamp\":\"2026-01-01\"}\n");
  EXPECT_EQ(Segctl("produce " + events + " --bootstrap 127.0.0.1:1 --timeout 1s 2>&1").status, 3);
  EXPECT_EQ(Segctl("produce /dev/null --bootstrap 127.0.0.1:1 2>&1").status, 2);
  const SegctlResult address = Segctl("produce " + events + " --bootstrap 127.0.0.1:x 2>&1");
  EXPECT_EQ(address.status, 2);
  EXPECT_THAT(address.text, StartsWith("segctl: --bootstrap-servers: \"127.0.0.1:x\""));
  const SegctlResult refused = Segctl("produce " + events + " --kafka acks=0 2>&1");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("acks"));
}

}  // namespace
}  // namespace segmentd
