// segctl segment against a server, with the segments in memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "api/segment_service.h"
#include "segment/settings.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/segctl_process.h"
#include "tests/unit/segctl_server.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

namespace v1 = segments::v1;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class SevenOfNine final : public Estimates {
 public:
  absl::Status estimate(const v1::Segment& segment, const std::function<bool(double)>& report,
                        int64_t* members, int64_t* users) override {
    asked.push_back(segment.past_behavior().ShortDebugString());
    report(0.5);
    *members = 7;
    *users = 9;
    return absl::OkStatus();
  }

  // The rules, in the order in which they came.
  std::vector<std::string> asked;
};

class SegctlSegment : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    server_.emplace(service_.handlers());
  }

  SegctlResult Run(const std::string& arguments) {
    return Segctl("segment " + arguments, server_->address());
  }
  static std::vector<std::string> Lines(const SegctlResult& result) {
    return absl::StrSplit(result.text, '\n', absl::SkipEmpty());
  }

  void Put(const std::string& id, const std::string& event = "Booked") {
    v1::Segment segment;
    segment.set_id(id);
    segment.set_name("The " + id);
    segment.set_version(1);
    segment.mutable_live()->mutable_actions()->add_any_of()->set_event(event);
    segment.set_status(v1::SEGMENT_STATUS_ACTIVE);
    log_.Put(segment);
  }
  // Its newest record can't be read; what was readable before stays.
  void Invalidate(const std::string& id) {
    const std::shared_ptr<const MemoryDefinitionLog::Segments> all = log_.All();
    for (v1::Segment segment : *all) {
      if (segment.id() != id) continue;
      segment.set_status(v1::SEGMENT_STATUS_INVALID);
      segment.set_status_detail("can't be read\nsee offset 7");
      segment.set_etag("offset-7");
      log_.Put(segment);
    }
  }
  // Each reading sees the next status, and the last one from then on.
  void Script(std::vector<std::pair<v1::SegmentStatus, double>> statuses) {
    log_.on_read = [statuses = std::move(statuses),
                    next = size_t{0}](MemoryDefinitionLog::Segments* all) mutable {
      const auto& [status, progress] = statuses[std::min(next++, statuses.size() - 1)];
      for (v1::Segment& segment : *all) {
        segment.set_status(status);
        segment.set_build_progress(progress);
        segment.set_status_detail(status == v1::SEGMENT_STATUS_ACTIVE ? "" : "why");
      }
    };
  }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  SevenOfNine estimates_;
  const Access access_ = Access::Open();
  SegmentService service_{log_, clock_.function(), access_, &estimates_};
  std::optional<SegctlServer> server_;
};

constexpr char kOuterAndInner[] =
    "id: outer\nname: Outer\npast_behavior: { in_segment: inner }\n---\n"
    "id: inner\nname: Inner\npast_behavior: { did: { event: Booked } }\n";

TEST_F(SegctlSegment, WhatTheServerRefusesIsSaidWithItsPlace) {
  const std::string file =
      FileWith("place.yaml",
               "id: fine\nname: Fine\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n"
               "id: outer\nname: Outer\npast_behavior: { in_segment: gone }\n");
  for (const char* command : {"create", "apply", "validate", "estimate"}) {
    const SegctlResult result = Run(absl::StrCat(command, " -f ", file, " 2>&1"));
    if (absl::string_view(command) != "estimate") {
      EXPECT_THAT(result.text, HasSubstr("place.yaml:5: ")) << command;
      EXPECT_THAT(result.text, HasSubstr("gone")) << command;
    } else {
      EXPECT_THAT(result.text, HasSubstr("place.yaml:1: ")) << command;
    }
  }
  EXPECT_THAT(
      Run("update --etag x -f " +
          FileWith(
              "other.yaml",
              "\n\nid: other\nname: Other\nlive: { actions: { any_of: [ { event: E } ] } }\n") +
          " 2>&1")
          .text,
      HasSubstr("other.yaml:3: "));
  // Each line of it.
  const std::string wrong =
      FileWith("two.yaml",
               "id: two\nname: Two\npast_behavior: { any_of: [ { in_segment: gone }, { in_segment: "
               "away } ] }\n");
  EXPECT_THAT(Lines(Run("create -f " + wrong + " 2>&1")),
              ElementsAre(StartsWith("segctl: " + wrong + ":1: past_behavior.any_of[0]"),
                          StartsWith(wrong + ":1: past_behavior.any_of[1]")));
}

TEST_F(SegctlSegment, WhatIsMissingForAnUpdateIsSaidWithItsPlace) {
  const std::string live = "live: { actions: { any_of: [ { event: E } ] } }\n";
  const std::string nameless = FileWith("nameless.yaml", "\nname: Nameless\n" + live);
  for (const char* command : {"update", "apply", "diff"}) {
    const SegctlResult result = Run(absl::StrCat(command, " -f ", nameless, " 2>&1"));
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_THAT(result.text, HasSubstr("nameless.yaml:2: \"Nameless\" has no id")) << command;
  }
  EXPECT_THAT(
      Run("update -f " + FileWith("no_etag.yaml", "id: e\nname: E\n" + live) + " 2>&1").text,
      HasSubstr("no_etag.yaml:1: no etag"));
}

TEST_F(SegctlSegment, ARefusedTokenIsNoProblemOfTheFile) {
  const absl::StatusOr<Access> access = Access::FromText("write " + std::string(64, '0'));
  ASSERT_TRUE(access.ok());
  SegmentService guarded(log_, clock_.function(), *access, &estimates_);
  const SegctlServer server(guarded.handlers());
  const SegctlResult result =
      Segctl("segment create -f " + FileWith("outer_inner.yaml", kOuterAndInner) + " 2>&1",
             server.address());
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.text, StartsWith("segctl: a token is needed"));
}

TEST_F(SegctlSegment, TheUserNeedNotBeAscii) {
  const std::string file =
      FileWith("by.yaml", "id: by\nname: By\nlive: { actions: { any_of: [ { event: E } ] } }\n");
  EXPECT_EQ(Run("create --user Zo\u00eb -f " + file).status, 0);
  EXPECT_THAT(Run("get by").text, HasSubstr(" by Zo\u00eb, updated"));
  EXPECT_THAT(Run("list --created-by Zo\u00eb").text, HasSubstr("by "));
}

TEST_F(SegctlSegment, ExportLeavesOutWhatIsInvalid) {
  Put("booked");
  v1::Segment unreadable;
  unreadable.set_id("unreadable");
  unreadable.set_status(v1::SEGMENT_STATUS_INVALID);
  unreadable.set_status_detail("is no segment");
  log_.Put(unreadable);
  const SegctlResult result = Run("export 2>&1");
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.text, HasSubstr("unreadable is invalid and left out: is no segment"));
  EXPECT_THAT(result.text, HasSubstr("id: booked"));
  EXPECT_THAT(result.text, Not(HasSubstr("id: unreadable")));
  EXPECT_THAT(Run("get unreadable").text, HasSubstr("created at an unknown time"));
}

TEST_F(SegctlSegment, ExportNamesWhatRefersToOneLeftOut) {
  Put("booked");
  Put("broken");
  for (const auto& [id, inner] : {std::pair{"direct", "broken"}, std::pair{"fine", "booked"}}) {
    v1::Segment segment;
    segment.set_id(id);
    segment.set_name("The " + std::string(id));
    segment.mutable_past_behavior()->set_in_segment(inner);
    log_.Put(segment);
  }
  Invalidate("broken");
  const SegctlResult said = Run("export 2>&1 >/dev/null");
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(Lines(said),
              ElementsAre("segctl: broken is invalid and left out: can't be read", "see offset 7",
                          "segctl: direct refers to broken (past_behavior.in_segment), which is "
                          "left out: a server without broken refuses it"));
  const SegctlResult written = Run("export 2>/dev/null");
  EXPECT_THAT(written.text, HasSubstr("id: direct"));
  EXPECT_THAT(written.text, HasSubstr("id: fine"));
  EXPECT_THAT(written.text, Not(HasSubstr("id: broken")));
}

// A file is what there is to be, and that is not to be.
TEST_F(SegctlSegment, WhatIsBeingDeletedIsNotThereAnyMore) {
  Put("booked");
  Put("gone");
  v1::Segment gone = log_.All()->back();
  gone.set_status(v1::SEGMENT_STATUS_DELETING);
  gone.set_etag("e");
  log_.Put(gone);
  EXPECT_THAT(Lines(Run("export 2>&1 >/dev/null")),
              ElementsAre("segctl: gone is being deleted and left out"));
  const SegctlResult exported = Run("export 2>/dev/null");
  EXPECT_EQ(exported.status, 0);
  EXPECT_THAT(exported.text, HasSubstr("id: booked"));
  EXPECT_THAT(exported.text, Not(HasSubstr("id: gone")));
  EXPECT_EQ(Run("export gone").status, 1) << "nothing found";
  const std::string file =
      FileWith("gone.yaml",
               "id: gone\nname: The gone\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
  EXPECT_EQ(Run("diff -f " + file).status, 1);
  const SegctlResult applied = Run("apply -f " + file + " 2>&1");
  EXPECT_EQ(applied.status, 2);
  EXPECT_THAT(applied.text, HasSubstr("is being deleted"));
}

TEST_F(SegctlSegment, WhatIsInvalidAsStoredIsAChange) {
  const std::string file = FileWith(
      "mend.yaml",
      "id: booked\nname: The booked\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
  Put("booked");
  EXPECT_EQ(Run("diff -f " + file).status, 0);
  EXPECT_THAT(Run("apply -f " + file).text, StartsWith("unchanged booked"));
  // What was last readable goes on, and is what the file says.
  Invalidate("booked");
  const SegctlResult text = Run("diff -f " + file);
  EXPECT_EQ(text.status, 1);
  EXPECT_THAT(Lines(text),
              ElementsAre("segment booked", "# invalid as stored: can't be read", "# see offset 7",
                          " id: booked", " name: The booked", StartsWith(" live: { actions:")));
  const SegctlResult json = Run("diff --json -f " + file);
  EXPECT_EQ(json.status, 1);
  EXPECT_THAT(Lines(json),
              ElementsAre(StartsWith(
                  R"({"id":"booked","invalid_as_stored":true,"stored":{"id":"booked",)")));
  EXPECT_THAT(log_.appended(), IsEmpty());

  EXPECT_THAT(Run("apply -f " + file).text, StartsWith("updated booked"));
  EXPECT_THAT(log_.appended(), ElementsAre("booked"));
  EXPECT_THAT(Run("apply -f " + file).text, StartsWith("unchanged booked"));
  EXPECT_EQ(Run("diff -f " + file).status, 0);
  EXPECT_THAT(log_.appended(), ElementsAre("booked"));
}

TEST_F(SegctlSegment, ApplySaysWhatTheTasksCannotRun) {
  log_.on_stored = [](v1::Segment* segment) {
    segment->set_status(v1::SEGMENT_STATUS_INVALID);
    segment->set_status_detail("past_behavior: the segment is of the kind live");
  };
  const std::string file =
      FileWith("kind.yaml", "\nid: kind\nname: Kind\npast_behavior: { did: { event: Booked } }\n");
  const SegctlResult result = Run("apply -f " + file + " 2>&1");
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.text, HasSubstr("created kind"));
  EXPECT_THAT(result.text,
              HasSubstr(file + ":2: kind can't be run: past_behavior: the segment is of the kind"));
}

// It is busy, and not the file's problem.
TEST_F(SegctlSegment, ABusyServerIsNoRefusal) {
  log_.before_append = [] { return absl::ResourceExhaustedError("all threads are in use"); };
  const std::string file = FileWith(
      "busy.yaml", "id: busy\nname: Busy\nlive: { actions: { any_of: [ { event: E } ] } }\n");
  EXPECT_EQ(Run("create -f " + file + " 2>&1").status, 3);
}

TEST_F(SegctlSegment, TheLimitOfSegmentsIsARefusal) {
  for (int i = 0; i < kMaxSegments; ++i) Put(absl::StrCat("s", i));
  const std::string file = FileWith(
      "full.yaml", "\nid: full\nname: Full\nlive: { actions: { any_of: [ { event: E } ] } }\n");
  for (const char* command : {"create", "apply"}) {
    const SegctlResult result = Run(absl::StrCat(command, " -f ", file, " 2>&1"));
    EXPECT_EQ(result.status, 2) << command;
    EXPECT_THAT(result.text, StartsWith("segctl: " + file + ":2: there are 2500 segments"));
  }
  const SegctlResult cloned = Run("clone s1 --id full --name Full 2>&1");
  EXPECT_EQ(cloned.status, 2);
  EXPECT_THAT(cloned.text, StartsWith("segctl: there are 2500 segments"));
}

std::string ManyLive(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, "---\nid: s", i,
                    "\nname: S\nlive: { actions: { any_of: [ { event: E } ] } }\n");
  }
  return text;
}

TEST_F(SegctlSegment, FilesHoldNoMoreSegmentsThanAServer) {
  const std::string most = FileWith("most.yaml", ManyLive(kMaxSegments));
  EXPECT_EQ(Run("validate --local -f " + most).status, 0);
  const std::string extra = FileWith("extra.yaml",
                                     "\nid: x\nname: X\n"
                                     "live: { actions: { any_of: [ { event: E } "
                                     "] } }\n");
  const std::string both = " -f " + most + " -f " + extra;
  const std::string problem =
      extra + ":2: is one segment too many: 2501 are given, and at most 2500 are allowed\n";
  for (const char* validate : {"validate --local", "validate"}) {
    const SegctlResult result = Run(validate + both);
    EXPECT_EQ(result.status, 1) << validate;
    EXPECT_EQ(result.text, problem) << validate;
  }
  const SegctlResult replayed =
      Segctl("replay --events /dev/null --segments " + most + " --segments " + extra + " 2>&1");
  EXPECT_EQ(replayed.status, 2);
  EXPECT_EQ(replayed.text, "segctl: " + problem);
}

TEST_F(SegctlSegment, ValidateTellsWhereTheServerIsFull) {
  for (int i = 0; i < kMaxSegments - 1; ++i) Put(absl::StrCat("s", i));
  log_.on_read = [](MemoryDefinitionLog::Segments* all) {
    v1::Segment going = all->front();
    going.set_id("going");
    going.set_status(v1::SEGMENT_STATUS_DELETING);
    all->push_back(going);
  };
  const std::string file =
      FileWith("few.yaml",
               "id: s1\nname: S\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n"
               "id: new1\nname: N\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n");
  EXPECT_EQ(Run("validate -f " + file).text, "2 valid segments\n");
  const std::string more =
      FileWith("more.yaml", "name: N\nlive: { actions: { any_of: [ { event: E } ] } }\n");
  const SegctlResult over = Run("validate -f " + file + " -f " + more);
  EXPECT_EQ(over.status, 1);
  EXPECT_EQ(over.text, more +
                           ":1: is one segment too many: the server has 2499, 2 of those given "
                           "are new to it, and at most 2500 are allowed; delete some first\n");
  Put("new1");
  EXPECT_EQ(Run("validate -f " + file).text, "2 valid segments\n");
  const SegctlResult full = Run("validate -f " + more);
  EXPECT_EQ(full.status, 1);
  EXPECT_THAT(Lines(full), ElementsAre(HasSubstr("more.yaml:1: there are 2500 segments")));
}

TEST_F(SegctlSegment, CreatesInTheOrderOfDependency) {
  const std::string file = FileWith("outer_inner.yaml", kOuterAndInner);
  const SegctlResult created = Run("create -f " + file);
  EXPECT_EQ(created.status, 0);
  EXPECT_THAT(Lines(created),
              ElementsAre(StartsWith("created inner"), StartsWith("created outer")));
  EXPECT_EQ(Run("diff -f " + file).status, 0);
  EXPECT_THAT(
      Lines(Run("export")),
      ElementsAre("id: inner", "name: Inner", "past_behavior: { did: { event: Booked } }", "---",
                  "id: outer", "name: Outer", "past_behavior: { in_segment: inner }"));
  const SegctlResult refused = Run("delete inner 2>&1");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("\"outer\" refers to \"inner\""));
  EXPECT_EQ(Run("delete inner outer").status, 0);
}

TEST_F(SegctlSegment, ValidatesReferencesWithinTheFile) {
  const std::string file = FileWith("outer_inner.yaml", kOuterAndInner);
  EXPECT_EQ(Run("validate -f " + file).status, 0);
  ASSERT_EQ(Run("create -f " + file).status, 0);
  EXPECT_EQ(Run("validate -f " + file).status, 0);
  const SegctlResult missing =
      Run("validate -f " +
          FileWith("missing.yaml", "id: m\nname: M\npast_behavior: { in_segment: nobody }\n"));
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.text, HasSubstr("there is no segment \"nobody\""));
  // By way of a stored one.
  const SegctlResult cycle =
      Run("validate -f " +
          FileWith("closing.yaml", "id: inner\nname: I\npast_behavior: { in_segment: outer }\n"));
  EXPECT_EQ(cycle.status, 1);
  EXPECT_THAT(cycle.text, HasSubstr("inner -> outer -> inner"));
}

TEST_F(SegctlSegment, PausesAndResumes) {
  Put("booked");
  log_.on_stored = [](v1::Segment* segment) {
    segment->set_status(segment->paused() ? v1::SEGMENT_STATUS_PAUSED : v1::SEGMENT_STATUS_ACTIVE);
    segment->set_status_detail(segment->paused() ? "paused by PauseSegment" : "");
  };
  const SegctlResult paused = Run("pause booked");
  EXPECT_EQ(paused.status, 0);
  EXPECT_THAT(Lines(paused), ElementsAre("paused booked  The booked  (version 2, paused)",
                                         "  paused by PauseSegment"));
  EXPECT_THAT(Run("list --status paused").text, HasSubstr("booked"));
  const SegctlResult watched = Run("watch booked");
  EXPECT_EQ(watched.status, 1);
  EXPECT_EQ(watched.text, "booked  version 2, paused: paused by PauseSegment\n");
  // What the file says goes on.
  EXPECT_THAT(Run("get booked --json").text, HasSubstr("\"paused\":true"));
  EXPECT_THAT(Lines(Run("export")).size(), 3u);

  const SegctlResult resumed = Run("resume booked --json");
  EXPECT_EQ(resumed.status, 0);
  EXPECT_THAT(resumed.text, HasSubstr("\"version\":3"));
  EXPECT_EQ(Run("pause nobody 2>&1").status, 1);
  EXPECT_EQ(Run("resume 2>&1").status, 2);
}

TEST_F(SegctlSegment, Estimates) {
  const std::string file = FileWith("outer_inner.yaml", kOuterAndInner);
  const std::string inner =
      FileWith("inner.yaml", "name: Inner\npast_behavior: { did: { event: Booked } }\n");
  const SegctlResult estimated = Run("estimate -f " + inner);
  EXPECT_EQ(estimated.status, 0);
  EXPECT_EQ(estimated.text, "Inner: 7 of 9 users (77.8 %)\n");
  EXPECT_EQ(Run("estimate --json -f " + inner).text,
            "{\"segment_name\":\"Inner\",\"members\":7,\"users\":9}\n");
  const SegctlResult live = Run(
      "estimate 2>&1 -f " + FileWith("live.yaml",
                                     "name: B\nlive: { actions: { any_of: [ { event: Booked } ] "
                                     "} }\n"));
  EXPECT_EQ(live.status, 2);
  EXPECT_THAT(live.text, HasSubstr("live: can't be estimated"));
  // The server has neither of them.
  estimates_.asked.clear();
  const SegctlResult both = Run("estimate -f " + file + " 2>&1");
  EXPECT_EQ(both.status, 0) << both.text;
  EXPECT_EQ(both.text, "Inner: 7 of 9 users (77.8 %)\nOuter: 7 of 9 users (77.8 %)\n");
  EXPECT_THAT(estimates_.asked,
              ElementsAre("did { event: \"Booked\" }", "did { event: \"Booked\" }"));
}

TEST_F(SegctlSegment, EstimatesWhatTheFilesReferToByItsRule) {
  const std::string file =
      FileWith("estimates.yaml",
               "id: top\nname: Top\npast_behavior: { not: { any_of: [ { in_segment: middle }, "
               "{ in_segment: stored } ] } }\n---\n"
               "id: middle\nname: Middle\n"
               "past_behavior: { all_of: [ { in_segment: inner }, { in_segment: inner } ] }\n---\n"
               "id: inner\nname: Inner\npast_behavior: { did: { event: Booked } }\n---\n"
               "id: live\nname: Live\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n"
               "id: of-live\nname: Of live\npast_behavior: { in_segment: live }\n---\n"
               "id: last\nname: Last\npast_behavior: { did: { event: Paid } }\n");
  Put("stored");
  const SegctlResult estimated = Run("estimate -f " + file + " 2>&1");
  EXPECT_EQ(estimated.status, 2);
  EXPECT_THAT(
      Lines(estimated),
      ElementsAre("Inner: 7 of 9 users (77.8 %)", "Middle: 7 of 9 users (77.8 %)",
                  "Top: 7 of 9 users (77.8 %)", HasSubstr("live: can't be estimated"),
                  AllOf(HasSubstr("estimates.yaml:17: past_behavior.in_segment: there is no "
                                  "segment \"live\"; create it first"),
                        HasSubstr("with shadow: true")),
                  "Last: 7 of 9 users (77.8 %)"));
  EXPECT_THAT(
      estimates_.asked,
      ElementsAre("did { event: \"Booked\" }",
                  "all_of { did { event: \"Booked\" } } all_of { did { event: \"Booked\" } }",
                  "not { any_of { all_of { did { event: \"Booked\" } } all_of { did { event: "
                  "\"Booked\" } } } any_of { in_segment: \"stored\" } }",
                  "did { event: \"Paid\" }"));
}

// Each twice as large as the one before: past some, what the server has is asked for.
TEST_F(SegctlSegment, EstimatesInlineNoMoreThanADefinitionMayHold) {
  std::string text = "id: s0\nname: S\npast_behavior: { did: { event: Booked } }\n";
  for (int i = 1; i < 60; ++i) {
    const std::string inner = absl::StrCat("{ in_segment: s", i - 1, " }");
    absl::StrAppend(&text, "---\nid: s", i, "\nname: S\npast_behavior: { all_of: [ ", inner, ", ",
                    inner, " ] }\n");
  }
  const SegctlResult estimated = Run("estimate -f " + FileWith("doubled.yaml", text) + " 2>&1");
  EXPECT_EQ(estimated.status, 2);
  EXPECT_THAT(estimated.text, HasSubstr("there is no segment \"s6\"; create it first"));
  EXPECT_EQ(estimates_.asked.size(), 7u);
}

TEST_F(SegctlSegment, OnlyWhatTheServerMissesIsToBeCreatedForAnEstimate) {
  const std::string file =
      FileWith("missing.yaml",
               "id: power-users\nname: Power\npast_behavior: { did: { event: Booked } }\n---\n"
               "id: filtered\nname: Filtered\nlive: { actions: { any_of: [ { event: E } ] }, "
               "filter: { in_segment: power-users } }\n---\n"
               "id: stored\nname: Stored\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n"
               "id: fresh\nname: Fresh\nlive: { actions: { any_of: [ { event: E } ] } }\n---\n"
               "id: of-both\nname: Of both\npast_behavior: { all_of: [ { in_segment: stored }, "
               "{ in_segment: fresh }, { not: { in_segment: fresh } } ] }\n");
  Put("stored");
  const std::vector<std::string> lines = Lines(Run("estimate -f " + file + " 2>&1"));
  const auto refused = HasSubstr("create a live segment with shadow: true and count its members");
  EXPECT_THAT(lines, ElementsAre("Power: 7 of 9 users (77.8 %)",
                                 AllOf(refused, Not(HasSubstr("power-users"))), refused, refused,
                                 HasSubstr("all_of[1]"),
                                 AllOf(HasSubstr("all_of[2]"), HasSubstr("that fresh is in"))));
}

TEST_F(SegctlSegment, EstimatesInlineNoMoreThanARequestMayHold) {
  std::string large = "id: large\nname: Large\npast_behavior: { property: { property: p, in: [ ";
  for (int i = 0; i < 10'000; ++i) absl::StrAppend(&large, std::string(56, 'v'), i, ", ");
  large += "] } }\n";
  const std::string twice =
      FileWith("twice.yaml",
               "id: twice\nname: Twice\npast_behavior: { all_of: [ { in_segment: large }, "
               "{ not: { in_segment: large } } ] }\n---\n"
               "id: last\nname: Last\npast_behavior: { did: { event: Paid } }\n");
  const SegctlResult estimated =
      Run("estimate -f " + FileWith("large.yaml", large) + " -f " + twice + " 2>&1");
  EXPECT_EQ(estimated.status, 2);
  EXPECT_THAT(Lines(estimated),
              ElementsAre("Large: 7 of 9 users (77.8 %)",
                          HasSubstr("there is no segment \"large\"; create it first"),
                          HasSubstr("that large is in the files is not enough"),
                          "Last: 7 of 9 users (77.8 %)"));
}

TEST_F(SegctlSegment, WatchesUntilItIsActive) {
  Put("booked");
  Script({{v1::SEGMENT_STATUS_PENDING, 0},
          {v1::SEGMENT_STATUS_BUILDING, 0.251},
          {v1::SEGMENT_STATUS_BUILDING, 0.255},
          {v1::SEGMENT_STATUS_BUILDING, 0.9},
          {v1::SEGMENT_STATUS_ACTIVE, 0}});
  const SegctlResult watched = Run("watch booked");
  EXPECT_EQ(watched.status, 0);
  EXPECT_THAT(
      Lines(watched),
      ElementsAre("booked  version 1, pending: why", "booked  version 1, building 25 %: why",
                  "booked  version 1, building 90 %: why", "booked  version 1, active"));
  Script({{v1::SEGMENT_STATUS_BUILDING, 0.5}, {v1::SEGMENT_STATUS_INVALID, 0}});
  const SegctlResult invalid = Run("watch booked --json");
  EXPECT_EQ(invalid.status, 1);
  EXPECT_THAT(Lines(invalid),
              ElementsAre(HasSubstr("\"build_progress\":0.5"), HasSubstr("STATUS_INVALID")));
  const SegctlResult unknown = Run("watch nobody 2>/dev/null");
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.text, IsEmpty());
}

TEST_F(SegctlSegment, ListShowsProgress) {
  Put("booked");
  Script({{v1::SEGMENT_STATUS_BUILDING, 0.999}});
  EXPECT_THAT(Run("list").text, HasSubstr("building 99 %"));
  EXPECT_THAT(Run("get booked").text, HasSubstr("# building 99 %, version 1"));
}

}  // namespace
}  // namespace segmentd
