// Segments that count the past, from BUILDING to ACTIVE; shadows; limits.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "stream/change_codec.h"
#include "stream/estimate.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"

namespace segmentd::simulation {
namespace {

using segments::v1::AppliedDefinition;
using segments::v1::Segment;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Segment Make(const std::string& id, int64_t version, const std::string& rule) {
  auto documents = ReadSegmentDocuments(fmt::format("id: {}\nname: {}\n{}\n", id, id, rule));
  EXPECT_TRUE(documents.ok() && documents->size() == 1 && documents->at(0).violations.empty())
      << rule;
  Segment segment = documents->at(0).segment;
  segment.set_version(version);
  return segment;
}

constexpr const char* kTwice = "past_behavior: { did: { event: A, count: { at_least: 2 } } }";

class Building : public ::testing::Test {
 protected:
  Building() {
    spdlog::set_level(spdlog::level::off);
    options_.restore_in_background = false;
    options_.backfill.background = false;
    // Everybody's turn takes many steps.
    options_.task.users_built_per_step = 2;
    start();
    turns(5);
  }

  void append(const std::string& user, const std::string& event, const std::string& id = "") {
    cluster_.append(
        0, InputRecord{.key = user,
                       .value = fmt::format(R"({{"type":"track","userId":"{}","messageId":"{}",)"
                                            R"("event":"{}","timestamp":{}}})",
                                            user, id.empty() ? fmt::format("m{}", ++sent_) : id,
                                            event, cluster_.wall.millis()),
                       .record_time = cluster_.wall});
    cluster_.pass(Duration::Millis(10));
  }
  void append_at(const std::string& user, const std::string& event, Time at) {
    cluster_.append(
        0, InputRecord{.key = user,
                       .value = fmt::format(R"({{"type":"track","userId":"{}","messageId":"m{}",)"
                                            R"("event":"{}","timestamp":{}}})",
                                            user, ++sent_, event, at.millis()),
                       .record_time = cluster_.wall});
    cluster_.pass(Duration::Millis(10));
  }
  // From a device with this operating system.
  void append_from(const std::string& os, const std::string& user, Duration late = Duration()) {
    cluster_.append(
        0, InputRecord{.key = user,
                       .value = fmt::format(R"({{"type":"track","userId":"{}","messageId":"m{}",)"
                                            R"("event":"A","timestamp":{},)"
                                            R"("context":{{"os":{{"name":"{}"}}}}}})",
                                            user, ++sent_, (cluster_.wall - late).millis(), os),
                       .record_time = cluster_.wall});
    cluster_.pass(Duration::Millis(10));
  }
  // Sets the user's property "when".
  void append_when(const std::string& user, Time when) {
    cluster_.append(
        0, InputRecord{.key = user,
                       .value = fmt::format(R"({{"type":"identify","userId":"{}","timestamp":{},)"
                                            R"("traits":{{"when":"{}"}}}})",
                                            user, cluster_.wall.millis(), FormatTimestamp(when)),
                       .record_time = cluster_.wall});
  }
  // So many users join segment "s", from whose window they slide an hour later; in version 2 it may
  // change 20 times a minute.
  void limit_members_of_a_window(size_t users) {
    const char* const rule = "past_behavior: { did: { event: A, within_last: 1h } }";
    want({Make("s", 1, rule)});
    turns(20);
    for (size_t i = 0; i < users; ++i) append(fmt::format("u{}", i), "A");
    turns_until([&] { return told("s").size() == users; });
    Segment limited = Make("s", 2, rule);
    limited.set_max_changes_per_minute(20);
    want({limited});
    turns_until([&] {
      return process_->board().status("s", 2).status == segments::v1::SEGMENT_STATUS_ACTIVE;
    });
  }
  void start() {
    process_ = std::make_unique<Process>(cluster_, "one", options_);
    process_->worker().want(wanted_);
  }
  void restart() {
    process_.reset();
    start();
    turns(20);
  }
  void want(std::vector<Segment> segments) {
    wanted_ = std::make_shared<const std::vector<Segment>>(std::move(segments));
    process_->worker().want(wanted_);
  }
  void turns(int n) {
    for (; n > 0; --n) {
      process_->worker().turn();
      cluster_.pass(Duration::Millis(20));
    }
  }
  template <typename Condition>
  void turns_until(const Condition& condition) {
    for (int n = 0; n < 2'000; ++n) {
      if (condition()) return;
      turns(1);
    }
    FAIL() << "does not come true";
  }
  const Task* task() const { return process_->worker().running(0); }
  // ACTIVE also before it is applied.
  AppliedDefinition::Phase phase(const std::string& id) const {
    for (const auto& [slot, definition] : task()->definitions().by_slot()) {
      if (definition.segment().id() == id) return definition.phase();
    }
    return AppliedDefinition::ACTIVE;
  }
  void turns_until_active(const std::string& id) {
    turns_until([&] {
      const ActiveSegment* segment = task() ? task()->engine().rules().find(id) : nullptr;
      return segment && segment->built && !task()->has_told();
    });
  }
  int64_t members(const std::string& id) const {
    return task()->members(task()->engine().rules().find(id)->slot);
  }

  // "user action reason", in the order of their numbers.
  std::vector<std::string> told(const std::string& id) const {
    std::vector<std::string> told;
    for (const OutputRecord* record : cluster_.read_committed(Topic::kChanges, 0)) {
      const auto change = DecodeChange(*record->value);
      if (change->segment_id() != id) continue;
      told.push_back(fmt::format("{} {} {}", change->user_id(),
                                 segments::v1::Action_Name(change->action()),
                                 segments::v1::Reason_Name(change->reason())));
    }
    return told;
  }

  Cluster cluster_{1, 1};
  WorkerOptions options_;
  WantedDefinitions wanted_ = std::make_shared<const std::vector<Segment>>();
  std::unique_ptr<Process> process_;
  int sent_ = 0;
};

TEST_F(Building, CountsThePastOnceAndGoesOn) {
  for (int i = 0; i < 6; ++i) append(fmt::format("u{}", i), "A");
  append("u0", "A");
  append("u1", "A");
  turns(20);
  want({Make("s", 1, kTwice)});
  turns_until([&] {
    return process_->board().status("s", 1).status == segments::v1::SEGMENT_STATUS_BUILDING;
  });
  EXPECT_THAT(told("s"), IsEmpty());
  // While it builds, of somebody known and of somebody new.
  append("u2", "A");
  append("new", "A");
  append("new", "A");
  turns_until_active("s");
  turns(20);
  EXPECT_EQ(process_->board().status("s", 1).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_THAT(told("s"), UnorderedElementsAre("u0 ADD BACKFILLED", "u1 ADD BACKFILLED",
                                              "u2 ADD BACKFILLED", "new ADD BACKFILLED"));
  append("u3", "A");
  turns(20);
  EXPECT_EQ(told("s").back(), "u3 ADD CONDITION_MET");
  EXPECT_EQ(members("s"), 5);
}

TEST_F(Building, KnowsCommonPropertiesOfThePast) {
  append_from("iOS", "u0");
  append_from("Android", "u0");
  append_from("iOS", "u1");
  // Said before the newest, and too late for triggers.
  append_from("Android", "u1", Duration::Hours(3));
  append("u1", "A");
  append_from("Android", "u2");
  append_from("Android", "u3");
  turns(20);
  want({Make("s", 1, "past_behavior: { property: { property: context.os.name, equals: iOS } }")});
  turns_until([&] {
    return process_->board().status("s", 1).status == segments::v1::SEGMENT_STATUS_BUILDING;
  });
  append_from("iOS", "u2");
  turns_until_active("s");
  turns(20);
  EXPECT_THAT(told("s"), UnorderedElementsAre("u1 ADD BACKFILLED", "u2 ADD BACKFILLED"));
  // Older than what the past said.
  append_from("iOS", "u3", Duration::Minutes(30));
  turns(20);
  EXPECT_EQ(members("s"), 2);
  append_from("iOS", "u3");
  restart();
  EXPECT_EQ(told("s").back(), "u3 ADD PROFILE_CHANGED");
  EXPECT_EQ(members("s"), 3);
}

// Whether or not some other segment has read the property before, and whatever was said since.
TEST_F(Building, FiltersKnowCommonPropertiesOfThePast) {
  const auto filtered = [](const std::string& id, int64_t version, const std::string& os) {
    return Make(
        id, version,
        fmt::format("live: {{ actions: {{ any_of: [ {{ event: Go }} ] }}, filter: {{ property: "
                    "{{ property: context.os.name, equals: {} }} }} }}",
                    os));
  };
  want({Make("other", 1,
             "past_behavior: { property: { property: context.os.name, equals: Android } }")});
  turns_until_active("other");
  append_from("Android", "u0");
  append_from("Android", "u1");
  turns(20);
  want({});
  turns_until([&] { return task()->engine().rules().find("other") == nullptr; });
  append_from("iOS", "u0");
  turns(20);
  want({filtered("i", 1, "iOS"), filtered("a", 1, "Android")});
  turns_until_active("i");
  turns_until_active("a");
  append("u0", "Go");
  append("u1", "Go");
  turns(20);
  EXPECT_THAT(told("i"), ElementsAre("u0 ADD TRIGGER"));
  EXPECT_THAT(told("a"), ElementsAre("u1 ADD TRIGGER"));

  // Edited away and back, with something said in between.
  want({filtered("i", 1, "iOS"), Make("a", 2, "live: { actions: { any_of: [ { event: B } ] } }")});
  turns_until([&] { return process_->board().running("a").version == 2; });
  append_from("Android", "u0");
  turns(20);
  want({filtered("i", 2, "Android"), filtered("a", 3, "Android")});
  turns_until([&] { return process_->board().running("a").version == 3; });
  turns_until_active("a");
  append("u0", "Go");
  turns(20);
  EXPECT_EQ(told("a").back(), "u0 ADD TRIGGER");
}

// What the stream has recorded of the property stays in its place.
TEST_F(Building, AnotherReaderOfACommonPropertyLeavesItsPast) {
  const Segment first =
      Make("first", 1,
           "live: { actions: { any_of: [ { event: Go } ] }, exit: { on: [ { event: Stop } ] }, "
           "filter: { property: { property: context.os.name, equals: iOS } } }");
  want({first});
  turns_until_active("first");
  for (const char* user : {"u0", "u1"}) append_from("iOS", user);
  append("u0", "Go");
  turns(20);
  cluster_.pass(Duration::Seconds(4));
  const Time before = cluster_.wall;
  cluster_.pass(Duration::Seconds(1));
  for (const char* user : {"u0", "u1"}) append_from("Android", user);
  turns(20);
  want(
      {first, Make("second", 1,
                   "past_behavior: { property: { property: context.os.name, equals: Android } }")});
  turns_until_active("second");
  EXPECT_EQ(members("second"), 2);
  append_at("u0", "Go", before);
  append_at("u1", "Go", before);
  turns(20);
  EXPECT_THAT(told("first"), ElementsAre("u0 ADD TRIGGER", "u1 ADD LATE_EVENT"));
  EXPECT_EQ(members("second"), 2);
}

// Which of two records with one message ID counts.
TEST_F(Building, ADuplicateInTheHistorySaysNothingOfCommonProperties) {
  const auto say = [&](const char* os) {
    cluster_.append(
        0, InputRecord{.key = "u0",
                       .value = fmt::format(R"({{"type":"track","userId":"u0","messageId":"same",)"
                                            R"("event":"A","timestamp":{},)"
                                            R"("context":{{"os":{{"name":"{}"}}}}}})",
                                            cluster_.wall.millis(), os),
                       .record_time = cluster_.wall});
    cluster_.pass(Duration::Seconds(5));
  };
  const char* const rule =
      "past_behavior: { property: { property: context.os.name, equals: iOS } }";
  want({Make("first", 1, rule)});
  turns_until_active("first");
  say("iOS");
  say("Android");
  turns(20);
  want({Make("first", 1, rule), Make("second", 1, rule)});
  turns_until_active("second");
  // Its history knows the message, too.
  say("Android");
  turns(20);
  EXPECT_EQ(members("first"), 1);
  EXPECT_EQ(members("second"), 1);
}

// An event's own commands come after its context, also when no late event can reach it any more.
TEST_F(Building, ATraitComesAfterTheContextOfItsEvent) {
  cluster_.append(
      0, InputRecord{.key = "u0",
                     .value = fmt::format(R"({{"type":"identify","userId":"u0","timestamp":{},)"
                                          R"("traits":{{"context":{{"os":{{"name":"iOS"}}}}}},)"
                                          R"("context":{{"os":{{"name":"Android"}}}}}})",
                                          cluster_.wall.millis()),
                     .record_time = cluster_.wall});
  for (int i = 0; i < 20; ++i) {
    cluster_.pass(Duration::Hours(1));
    append_when("u0", cluster_.wall);
  }
  turns(20);
  want({Make("s", 1, "past_behavior: { property: { property: context.os.name, equals: iOS } }")});
  turns_until_active("s");
  EXPECT_EQ(members("s"), 1);
}

// Whoever else reads the property.
TEST_F(Building, ADateOfTheContextIsKnownFromThePast) {
  const std::string ends = FormatTimestamp(cluster_.wall + Duration::Hours(2));
  cluster_.append(0, InputRecord{.key = "u0",
                                 .value = fmt::format(
                                     R"({{"type":"track","userId":"u0","event":"A","timestamp":{},)"
                                     R"("context":{{"trial":{{"ends":"{}"}}}}}})",
                                     cluster_.wall.millis(), ends),
                                 .record_time = cluster_.wall});
  turns(20);
  want({Make("d", 1, "live: { date_time: { property: context.trial.ends } }")});
  turns_until_active("d");
  cluster_.pass(Duration::Hours(3));
  append("u1", "A");
  turns(20);
  EXPECT_THAT(told("d"), ElementsAre("u0 ADD DATE_TIME"));
}

TEST_F(Building, GoesOnAfterACrashAmidTheTurns) {
  for (int i = 0; i < 40; ++i) {
    append(fmt::format("u{}", i), "A");
    append(fmt::format("u{}", i), "A");
  }
  turns(20);
  want({Make("s", 1, kTwice)});
  turns_until([&] { return told("s").size() >= 10; });
  ASSERT_LT(told("s").size(), 40u);
  ASSERT_EQ(phase("s"), AppliedDefinition::ACTIVATING);
  restart();
  turns_until_active("s");
  turns(20);
  EXPECT_EQ(told("s").size(), 40u);
  EXPECT_EQ(members("s"), 40);
}

TEST_F(Building, AnEditLeavesMembershipsUntilItIsBuilt) {
  append("u", "A");
  append("v", "A");
  append("v", "A");
  append("v", "A");
  turns(20);
  want({Make("s", 1, kTwice)});
  turns_until_active("s");
  turns(20);
  ASSERT_THAT(told("s"), ElementsAre("v ADD BACKFILLED"));
  want({Make("s", 2, "past_behavior: { did: { event: A, count: { at_most: 1 } } }")});
  turns_until([&] { return phase("s") != AppliedDefinition::ACTIVE; });
  EXPECT_EQ(members("s"), 1);
  turns_until_active("s");
  turns(20);
  EXPECT_THAT(told("s"), UnorderedElementsAre("v ADD BACKFILLED", "u ADD DEFINITION_CHANGED",
                                              "v REMOVE DEFINITION_CHANGED"));
}

// Another one under the ID of one that was deleted before it was built, in its slot, and in the
// same version from the same record on: another segment that is still building keeps their history.
TEST_F(Building, ASegmentMadeAgainIsBuiltByItsOwnHistory) {
  for (int i = 0; i < 20; ++i) append("u", "A");
  append("v", "B");
  turns(20);
  cluster_.history_rate = 1;
  const Segment other = Make("other", 1, kTwice);
  Segment segment = Make("s", 1, "past_behavior: { did: { event: A } }");
  segment.mutable_create_time()->set_seconds(1);
  want({segment, other});
  turns_until([&] { return phase("s") == AppliedDefinition::BUILDING; });
  const Slot slot = task()->engine().rules().find("s")->slot;
  want({other});
  turns_until([&] { return !task()->definitions().by_slot().contains(slot); });
  ASSERT_EQ(phase("other"), AppliedDefinition::BUILDING);
  segment =
      Make("s", 1, "past_behavior: { any_of: [ { did: { event: B } }, { did: { event: C } } ] }");
  segment.mutable_create_time()->set_seconds(2);
  want({segment, other});
  turns_until([&] { return task()->engine().rules().find("s") != nullptr; });
  ASSERT_EQ(task()->engine().rules().find("s")->slot, slot);
  cluster_.history_rate = 30;
  turns_until_active("s");
  turns(20);
  EXPECT_THAT(told("s"), ElementsAre("v ADD BACKFILLED"));
  EXPECT_THAT(told("other"), ElementsAre("u ADD BACKFILLED"));
}

TEST_F(Building, OuterSegmentsSeeInnerOnesBuilt) {
  append("u", "A");
  append("u", "A");
  append("v", "A");
  turns(20);
  want({Make("inner", 1, kTwice), Make("outer", 1,
                                       "past_behavior: { all_of: [ { did: { event: A } }, { not: "
                                       "{ in_segment: inner } } ] }")});
  turns_until_active("outer");
  turns(20);
  EXPECT_THAT(told("inner"), ElementsAre("u ADD BACKFILLED"));
  EXPECT_THAT(told("outer"), ElementsAre("v ADD BACKFILLED"));
}

// As when somebody deletes its record from the definitions topic.
TEST_F(Building, OuterSegmentsChangeWithAnInnerOneThatVanishes) {
  constexpr int kMembers = 20;
  options_.task.users_scanned_per_step = 3;
  restart();
  const Segment outer = Make("outer", 1, "past_behavior: { not: { in_segment: inner } }");
  want({Make("inner", 1, "past_behavior: { did: { event: K } }"), outer});
  turns_until_active("outer");
  for (int i = 0; i < kMembers; ++i) append(fmt::format("u{}", i), "K");
  for (int i = 0; i < 5; ++i) append(fmt::format("others{}", i), "A");
  turns(20);
  ASSERT_EQ(members("inner"), kMembers);
  ASSERT_EQ(members("outer"), 5);

  want({outer});
  turns_until([&] { return told("inner").size() > kMembers + 4; });
  ASSERT_LT(told("inner").size(), 2 * kMembers);
  // Somebody comes before their turn, and late.
  for (const char* user : {"u0", "u19"}) {
    append(user, "K");
    append_from("iOS", user, Duration::Minutes(30));
  }
  turns(1);
  restart();
  turns_until([&] { return task()->engine().rules().segments().size() == 1; });
  turns(20);
  EXPECT_EQ(members("outer"), kMembers + 5);
  EXPECT_EQ(told("outer").size(), kMembers + 5u);

  // Both in one transaction.
  std::map<std::string, size_t> left;
  for (const OutputRecord* record : cluster_.read_committed(Topic::kChanges, 0)) {
    const auto change = DecodeChange(*record->value);
    if (change->reason() == segments::v1::SEGMENT_DELETED) {
      left[change->user_id()] = record->transaction;
    } else if (change->segment_id() == "outer" && change->user_id()[0] == 'u') {
      EXPECT_EQ(change->reason(), segments::v1::CONDITION_MET);
      ASSERT_TRUE(left.contains(change->user_id()));
      EXPECT_EQ(left[change->user_id()], record->transaction);
    }
  }
  EXPECT_EQ(left.size(), kMembers);
  // Nothing is left to come.
  for (int i = 0; i < kMembers; ++i) append(fmt::format("u{}", i), "A");
  append_from("iOS", "u7", Duration::Minutes(30));
  cluster_.pass(Duration::Hours(48));
  restart();
  turns(20);
  EXPECT_EQ(told("outer").size(), kMembers + 5u);
}

TEST_F(Building, ALiveSegmentCountsFromItsCreation) {
  append("u", "B");
  append("v", "B");
  turns(20);
  want({Make("s", 1,
             "live: { actions: { any_of: [ { event: A } ] }, filter: { did: { event: B } } }")});
  turns_until([&] { return phase("s") != AppliedDefinition::ACTIVE; });
  append("u", "A");
  append("w", "A");
  EXPECT_THAT(told("s"), IsEmpty());
  turns_until_active("s");
  turns(20);
  EXPECT_THAT(told("s"), ElementsAre("u ADD TRIGGER"));
  append("v", "A");
  turns(20);
  EXPECT_THAT(told("s"), ElementsAre("u ADD TRIGGER", "v ADD TRIGGER"));
}

// Whatever comes while it is built, before a user's turn and after it, and whatever crashes.
TEST_F(Building, AnEditOfALiveSegmentLosesNothing) {
  constexpr int kUsers = 12;
  const auto rule = [](const std::string& name, int64_t version) {
    Segment segment = Make("s", version,
                           "live: { actions: { any_of: [ { event: A } ], repeat: true }, filter: { "
                           "did: { event: B } }, exit: { on: [ { event: X } ] } }");
    segment.set_name(name);
    return segment;
  };
  for (int i = 0; i < kUsers; ++i) append(fmt::format("u{:02}", i), "B");
  want({rule("first", 1)});
  turns_until_active("s");
  for (int i = 0; i < kUsers / 2; ++i) append(fmt::format("u{:02}", i), "A");
  turns(20);
  ASSERT_EQ(told("s").size(), kUsers / 2u);

  want({rule("second", 2)});
  turns_until([&] { return phase("s") == AppliedDefinition::BUILDING; });
  // Members leave, the others join, and one comes back.
  for (int i = 0; i < kUsers; ++i) append(fmt::format("u{:02}", i), i < kUsers / 2 ? "X" : "A");
  append("u00", "A");
  turns_until([&] { return phase("s") == AppliedDefinition::ACTIVATING; });
  restart();
  turns_until([&] { return told("s").size() > kUsers / 2u; });
  append("u11", "A");
  append("u10", "X");
  turns(1);
  restart();
  turns_until_active("s");
  turns(20);
  std::map<std::string, std::vector<std::string>> by_user;
  for (const std::string& change : told("s")) {
    by_user[change.substr(0, 3)].push_back(change.substr(4));
  }
  EXPECT_THAT(by_user["u00"], ElementsAre("ADD TRIGGER", "REMOVE EXIT_EVENT", "ADD TRIGGER"));
  EXPECT_THAT(by_user["u01"], ElementsAre("ADD TRIGGER", "REMOVE EXIT_EVENT"));
  EXPECT_THAT(by_user["u06"], ElementsAre("ADD TRIGGER"));
  EXPECT_THAT(by_user["u10"], ElementsAre("ADD TRIGGER", "REMOVE EXIT_EVENT"));
  EXPECT_THAT(by_user["u11"], ElementsAre("ADD TRIGGER", "QUALIFIED TRIGGER"));
  EXPECT_EQ(members("s"), 6);
}

TEST_F(Building, ADateThatComesWhileItIsBuiltIsNotMissed) {
  constexpr int kUsers = 60;
  const auto rule = [](int64_t version) {
    return Make("s", version, "live: { date_time: { property: when } }");
  };
  want({rule(1)});
  turns(10);
  for (int i = 0; i < kUsers; ++i) {
    const Time when = cluster_.wall + Duration::Millis(200 + 20 * i);
    const std::string user = fmt::format("u{:02}", i);
    append_when(user, when);
  }
  turns_until([&] { return told("s").size() > 2; });
  want({rule(2)});
  turns_until([&] {
    const ActiveSegment* segment = task()->engine().rules().find("s");
    return segment->segment.version() == 2 && segment->built;
  });
  turns(200);
  EXPECT_EQ(told("s").size(), static_cast<size_t>(kUsers));
  EXPECT_EQ(members("s"), kUsers);
}

TEST_F(Building, ALiveSegmentIsJudgedByWhatItFiltersByOnceThatIsBuilt) {
  for (int i = 0; i < 8; ++i) append(fmt::format("u{}", i), "B");
  turns(20);
  want(
      {Make("inner", 1, "past_behavior: { did: { event: B } }"),
       Make("out", 1,
            "live: { actions: { any_of: [ { event: A } ] }, filter: { not: { in_segment: inner } } "
            "}"),
       Make("in", 1,
            "live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner } }")});
  turns_until([&] { return phase("inner") != AppliedDefinition::ACTIVE; });
  EXPECT_NE(phase("out"), AppliedDefinition::ACTIVE);
  for (int i = 6; i < 10; ++i) append(fmt::format("u{}", i), "A");
  turns_until_active("inner");
  turns_until_active("out");
  turns(20);
  EXPECT_THAT(told("out"), UnorderedElementsAre("u8 ADD TRIGGER", "u9 ADD TRIGGER"));
  EXPECT_THAT(told("in"), UnorderedElementsAre("u6 ADD TRIGGER", "u7 ADD TRIGGER"));
}

TEST_F(Building, WhatComesTwiceAroundTheActivationCountsOnce) {
  append("u", "A", "first");
  turns(20);
  want({Make("s", 1, kTwice)});
  turns_until([&] { return task()->engine().rules().find("s") != nullptr; });
  append("u", "A", "first");
  turns_until_active("s");
  append("u", "A", "first");
  turns(20);
  EXPECT_THAT(told("s"), IsEmpty());
  append("u", "A", "second");
  turns(20);
  EXPECT_THAT(told("s"), ElementsAre("u ADD CONDITION_MET"));
}

TEST_F(Building, AShadowIsCountedAndNotTold) {
  const auto shadow = [](Segment segment) {
    segment.set_shadow(true);
    return segment;
  };
  want({shadow(Make("s", 1,
                    "live: { actions: { any_of: [ { event: A } ] }, exit: { on: [ { "
                    "event: B } ] } }"))});
  turns(20);
  for (int i = 0; i < 10; ++i) append(fmt::format("u{}", i), "A");
  append("u0", "B");
  turns(40);
  EXPECT_EQ(members("s"), 9);
  EXPECT_EQ(task()->next_change(), 0);
  EXPECT_THAT(told("s"), IsEmpty());

  // The members there are become known, whatever crashes meanwhile.
  want({Make("s", 2,
             "live: { actions: { any_of: [ { event: A } ] }, exit: { on: [ { event: B } ] "
             "} }")});
  turns_until([&] { return !told("s").empty(); });
  EXPECT_LT(told("s").size(), 9u);
  restart();
  turns_until_active("s");
  turns(20);
  EXPECT_EQ(told("s").size(), 9u);
  for (const std::string& change : told("s"))
    EXPECT_THAT(change, ::testing::EndsWith(" ADD BACKFILLED"));
  EXPECT_EQ(members("s"), 9);
  append("u1", "B");
  turns(20);
  EXPECT_EQ(told("s").back(), "u1 REMOVE EXIT_EVENT");
}

TEST_F(Building, AShadowEndsUntold) {
  Segment shadow = Make("s", 1, "live: { actions: { any_of: [ { event: A } ] } }");
  shadow.set_shadow(true);
  want({shadow});
  turns(20);
  append("u", "A");
  turns(20);
  want({});
  turns(50);
  EXPECT_EQ(task()->engine().rules().segments().size(), 0u);
  EXPECT_THAT(told("s"), IsEmpty());
}

TEST_F(Building, TooManyChangesPauseASegmentUntilItIsResumed) {
  Segment limited = Make("s", 1, "live: { actions: { any_of: [ { event: A } ] } }");
  limited.set_max_changes_per_minute(5);
  want({limited});
  turns(20);
  for (int i = 0; i < 5; ++i) append(fmt::format("u{}", i), "A");
  turns(20);
  EXPECT_EQ(process_->board().status("s", 1).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  append("v", "A");
  turns(30);
  EXPECT_EQ(process_->board().status("s", 1).status, segments::v1::SEGMENT_STATUS_PAUSED);
  EXPECT_TRUE(task()->statuses()->at("s").paused_by_guard);
  append("w", "A");
  restart();
  append("x", "A");
  turns(20);
  EXPECT_EQ(told("s").size(), 6u);
  EXPECT_EQ(members("s"), 6);

  // A version alone does not end the pause.
  limited.set_version(2);
  want({limited});
  turns(30);
  EXPECT_EQ(process_->board().status("s", 2).status, segments::v1::SEGMENT_STATUS_PAUSED);
  limited.set_version(3);
  limited.set_resumed_version(3);
  want({limited});
  turns(30);
  EXPECT_EQ(process_->board().status("s", 3).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  append("y", "A");
  turns(20);
  EXPECT_EQ(told("s").back(), "y ADD TRIGGER");
  EXPECT_EQ(told("s").size(), 7u);
}

TEST_F(Building, AWaveOfDeadlinesStopsAtTheLimit) {
  options_.task.deadlines_per_portion = 10;
  restart();
  limit_members_of_a_window(300);
  ASSERT_EQ(told("s").size(), 300u);

  cluster_.pass(Duration::Hours(2));
  turns(100);
  EXPECT_EQ(process_->board().status("s", 2).status, segments::v1::SEGMENT_STATUS_PAUSED);
  // The portion in which the limit is passed is finished.
  EXPECT_GT(told("s").size(), 300u + 20);
  EXPECT_LE(told("s").size(), 300u + 20 + 10);
}

// What is read of somebody for another segment is no past of this one.
TEST_F(Building, ALateTriggerFindsTheSameWhateverIsBuiltBeside) {
  const Segment tested =
      Make("s", 1,
           "live: { actions: { any_of: [ { event: B } ] }, filter: { did: { event: B, "
           "within_last: 8s } } }");
  append("a", "A");
  append("p", "C");
  cluster_.pass(Duration::Minutes(2));
  turns(5);
  want({tested, Make("other", 1, "past_behavior: { did_not: { event: A, within_last: 3s } }")});
  turns_until_active("s");
  turns_until_active("other");
  append_at("a", "B", cluster_.wall - Duration::Seconds(30));
  append_at("p", "B", cluster_.wall - Duration::Seconds(30));
  turns(20);
  EXPECT_THAT(told("s"), UnorderedElementsAre("a ADD LATE_EVENT", "p ADD LATE_EVENT"));
}

// Though what they did is older than the window by the time of the activation, and since they did
// something else.
TEST_F(Building, ALateTriggerFindsThePastOfItsOwnMoment) {
  const std::string trigger = "live: { actions: { any_of: [ { event: B } ] }, filter: { ";
  append("u", "A");
  const Time done = cluster_.wall;
  cluster_.pass(Duration::Minutes(1));
  append("u", "D");
  turns(5);
  want({Make("did", 1, trigger + "did: { event: A, within_last: 10s } } }"),
        Make("did-not", 1, trigger + "did_not: { event: A, within_last: 10s } } }"),
        Make("yet", 1, trigger + "did_not: { event: D } } }")});
  for (const char* id : {"did", "did-not", "yet"}) turns_until_active(id);
  restart();
  append_at("u", "B", done + Duration::Seconds(5));
  turns(20);
  EXPECT_THAT(told("did"), ElementsAre("u ADD LATE_EVENT"));
  EXPECT_THAT(told("did-not"), IsEmpty());
  EXPECT_THAT(told("yet"), ElementsAre("u ADD LATE_EVENT"));
}

// Nobody's event waits for everybody's deadlines.
TEST_F(Building, EventsGoBetweenTheDeadlinesOfOneMoment) {
  constexpr size_t kUsers = 300;
  options_.task.deadlines_per_portion = 10;
  options_.wave_records = 20;
  restart();
  want({Make("s", 1, "past_behavior: { did: { event: A, within_last: 1h } }"),
        Make("t", 1, "live: { actions: { any_of: [ { event: B } ] } }")});
  turns(20);
  for (size_t i = 0; i < kUsers; ++i) append(fmt::format("u{}", i), "A");
  turns_until([&] { return told("s").size() == kUsers; });

  cluster_.pass(Duration::Hours(2));
  turns_until([&] { return told("s").size() > kUsers; });
  append("v", "B");
  turns_until([&] { return told("t").size() == 1; });
  EXPECT_LT(told("s").size(), 2 * kUsers);
  turns_until([&] { return told("s").size() == 2 * kUsers; });
}

TEST_F(Building, EventsStopAtTheLimitUntilThePauseIsCommitted) {
  // The pause waits for several saves.
  options_.task.bytes_saved_per_step = 1;
  restart();
  Segment limited = Make("s", 1, "live: { actions: { any_of: [ { event: A } ] } }");
  limited.set_max_changes_per_minute(5);
  want({limited, Make("t", 1, "live: { actions: { any_of: [ { event: A } ] } }")});
  turns(20);
  for (int i = 0; i < 100; ++i) append(fmt::format("u{}", i), "A");
  turns(200);
  EXPECT_EQ(process_->board().status("s", 1).status, segments::v1::SEGMENT_STATUS_PAUSED);
  EXPECT_EQ(told("s").size(), 6u);
  EXPECT_EQ(told("t").size(), 100u);
}

TEST_F(Building, TurnsStopAtTheLimit) {
  options_.task.users_built_per_step = 1'000;
  restart();
  for (int i = 0; i < 40; ++i) {
    append(fmt::format("u{}", i), "A");
    append(fmt::format("u{}", i), "A");
  }
  turns(20);
  Segment limited = Make("s", 1, kTwice);
  limited.set_max_changes_per_minute(5);
  want({limited, Make("t", 1, kTwice)});
  turns_until_active("t");
  turns(20);
  EXPECT_EQ(process_->board().status("s", 1).status, segments::v1::SEGMENT_STATUS_PAUSED);
  EXPECT_EQ(told("s").size(), 6u);
  EXPECT_EQ(told("t").size(), 40u);
}

// Of past behaviour and of a live segment alike.
class ShadowEnds : public Building, public ::testing::WithParamInterface<const char*> {
 protected:
  static constexpr int kUsers = 40;
  static constexpr size_t kLimit = 5;

  // A turn could take all users in one step.
  void SetUp() override {
    options_.task.users_built_per_step = 1'000;
    restart();
    want({shadow()});
    turns_until_active("s");
    append_all();
    turns_until([&] { return members("s") == kUsers; });
    ASSERT_THAT(told("s"), IsEmpty());
  }
  void append_all() {
    for (int i = 0; i < kUsers; ++i) append(fmt::format("u{}", i), "A");
  }
  static Segment limited(int64_t version, const std::string& rule = GetParam()) {
    Segment segment = Make("s", version, rule);
    segment.set_max_changes_per_minute(kLimit);
    return segment;
  }
  static Segment shadow() {
    Segment segment = limited(1);
    segment.set_shadow(true);
    return segment;
  }
  // Without the limit.
  static Segment resumed(int64_t version, const std::string& rule = GetParam()) {
    Segment segment = Make("s", version, rule);
    segment.set_resumed_version(version);
    return segment;
  }
  segments::v1::SegmentStatus status(int64_t version) const {
    return process_->board().status("s", version).status;
  }
  void turns_until_paused(int64_t version) {
    turns_until([&] { return status(version) == segments::v1::SEGMENT_STATUS_PAUSED; });
    turns(20);
    EXPECT_TRUE(task()->statuses()->at("s").paused_by_guard);
  }
  // Each user's changes, in their order.
  std::map<std::string, std::vector<std::string>> told_by_user() const {
    std::map<std::string, std::vector<std::string>> by_user;
    for (const std::string& change : told("s")) {
      const size_t space = change.find(' ');
      by_user[change.substr(0, space)].push_back(change.substr(space + 1));
    }
    return by_user;
  }
  void expect_each_added_once() const {
    const auto by_user = told_by_user();
    EXPECT_EQ(by_user.size(), kUsers);
    for (const auto& [user, changes] : by_user) {
      EXPECT_THAT(changes, ElementsAre("ADD BACKFILLED")) << user;
    }
    EXPECT_EQ(members("s"), kUsers);
  }
};

INSTANTIATE_TEST_SUITE_P(, ShadowEnds,
                         ::testing::Values("past_behavior: { did: { event: A } }",
                                           "live: { actions: { any_of: [ { event: A } ] } }"));

TEST_P(ShadowEnds, StopsAtTheLimitAndGoesOnWhenResumed) {
  want({limited(2)});
  turns_until_paused(2);
  EXPECT_EQ(told("s").size(), kLimit + 1);
  restart();
  turns(20);
  EXPECT_EQ(told("s").size(), kLimit + 1);
  EXPECT_EQ(members("s"), kUsers);

  // Once more up to the limit, which counts anew.
  Segment again = limited(3);
  again.set_resumed_version(3);
  want({again});
  turns_until_paused(3);
  EXPECT_EQ(told("s").size(), 2 * (kLimit + 1));
  // Nor does an update while it is paused forget who was told.
  want({limited(4)});
  turns_until([&] { return process_->board().running("s").version == 4; });
  restart();

  // To the end, with a crash amid the turns.
  options_.task.users_built_per_step = 2;
  restart();
  want({resumed(5)});
  turns_until([&] { return told("s").size() > 2 * (kLimit + 1) + 4; });
  ASSERT_LT(told("s").size(), kUsers);
  restart();
  turns_until_active("s");
  turns(20);
  expect_each_added_once();
  EXPECT_EQ(status(5), segments::v1::SEGMENT_STATUS_ACTIVE);
  append("new", "A");
  restart();
  turns(20);
  EXPECT_EQ(told("s").size(), kUsers + 1);
}

TEST_P(ShadowEnds, StopsAtTheLimitAlsoWhenItEndedWhilePaused) {
  Segment ended = limited(2);
  ended.set_paused(true);
  want({ended});
  turns_until([&] { return status(2) == segments::v1::SEGMENT_STATUS_PAUSED; });
  ended = limited(3);
  ended.set_resumed_version(3);
  want({ended});
  turns_until_paused(3);
  EXPECT_EQ(told("s").size(), kLimit + 1);
  want({resumed(4)});
  turns_until_active("s");
  turns(20);
  expect_each_added_once();
}

// By PauseSegment, which does not wait for the turns.
TEST_P(ShadowEnds, APauseAmidTheTurnsForgetsNobody) {
  options_.task.users_built_per_step = 2;
  restart();
  want({Make("s", 2, GetParam())});
  turns_until([&] { return told("s").size() > 4; });
  Segment paused = Make("s", 3, GetParam());
  paused.set_paused(true);
  want({paused});
  turns_until([&] { return status(3) == segments::v1::SEGMENT_STATUS_PAUSED; });
  const size_t known = told("s").size();
  ASSERT_LT(known, kUsers);
  append_all();
  restart();
  EXPECT_EQ(told("s").size(), known);
  EXPECT_EQ(members("s"), kUsers);
  // Another version in between.
  paused.set_version(4);
  want({paused});
  turns_until([&] { return process_->board().running("s").version == 4; });
  restart();
  want({resumed(5)});
  turns_until([&] { return told("s").size() > known + 4; });
  restart();
  turns_until_active("s");
  turns(20);
  expect_each_added_once();
}

TEST_P(ShadowEnds, WhoWasNotToldOfAMemberBeforeAPauseIsNotToldOfItsEnd) {
  options_.task.users_built_per_step = 2;
  restart();
  want({Make("s", 2, GetParam())});
  turns_until([&] { return told("s").size() > 4; });
  Segment paused = Make("s", 3, GetParam());
  paused.set_paused(true);
  want({paused});
  turns_until([&] { return status(3) == segments::v1::SEGMENT_STATUS_PAUSED; });
  const size_t known = told("s").size();
  restart();
  want({});
  turns_until([&] { return task()->engine().rules().segments().empty(); });
  turns(20);
  const auto by_user = told_by_user();
  EXPECT_EQ(by_user.size(), known);
  EXPECT_LT(known, kUsers);
  for (const auto& [user, changes] : by_user) {
    EXPECT_THAT(changes, ElementsAre("ADD BACKFILLED", "REMOVE SEGMENT_DELETED")) << user;
  }
}

// The resume may be known before the pause that it ends is in force.
TEST_P(ShadowEnds, AResumeThatComesWithThePauseForgetsNobody) {
  options_.task.bytes_saved_per_step = 1;
  restart();
  want({limited(2)});
  turns_until([&] { return told("s").size() == kLimit + 1; });
  want({resumed(3)});
  turns_until_active("s");
  turns_until([&] {
    return told("s").size() >= kUsers && status(3) == segments::v1::SEGMENT_STATUS_ACTIVE;
  });
  turns(20);
  expect_each_added_once();
}

TEST_P(ShadowEnds, WhoWasNotToldOfAMemberIsNotToldOfItsEnd) {
  want({limited(2)});
  turns_until_paused(2);
  restart();
  want({});
  turns_until([&] { return task()->engine().rules().segments().empty(); });
  turns(20);
  const auto by_user = told_by_user();
  EXPECT_EQ(by_user.size(), kLimit + 1);
  for (const auto& [user, changes] : by_user) {
    EXPECT_THAT(changes, ElementsAre("ADD BACKFILLED", "REMOVE SEGMENT_DELETED")) << user;
  }
}

// What comes while it is paused, and late, among users told and not told.
TEST_P(ShadowEnds, EventsWhilePausedForgetNobody) {
  want({limited(2)});
  turns_until_paused(2);
  append_all();
  for (int i = 0; i < kUsers; ++i) append_from("iOS", fmt::format("u{}", i), Duration::Minutes(30));
  turns(20);
  restart();
  want({limited(3)});
  turns_until([&] { return process_->board().running("s").version == 3; });
  append_all();
  turns(20);
  EXPECT_EQ(told("s").size(), kLimit + 1);
  want({resumed(4)});
  for (int i = 0; i < kUsers; ++i) append_from("iOS", fmt::format("u{}", i), Duration::Minutes(30));
  turns_until_active("s");
  turns(20);
  expect_each_added_once();
}

TEST_F(Building, AShadowThatEndsWithAWrongRuleCanBeMended) {
  options_.task.users_built_per_step = 1'000;
  restart();
  Segment segment = Make("s", 1, "past_behavior: { did: { event: B } }");
  segment.set_shadow(true);
  want({segment});
  turns_until_active("s");
  for (int i = 0; i < 40; ++i) {
    append(fmt::format("u{}", i), "A");
    if (i % 2 == 0) append(fmt::format("u{}", i), "B");
  }
  turns(20);
  // Ended together with a changed rule.
  segment = Make("s", 2, "past_behavior: { did: { event: A } }");
  segment.set_max_changes_per_minute(5);
  want({segment});
  turns_until([&] {
    return process_->board().status("s", 2).status == segments::v1::SEGMENT_STATUS_PAUSED;
  });
  turns(20);
  ASSERT_EQ(told("s").size(), 6u);
  restart();
  segment = Make("s", 3, "past_behavior: { did: { event: B } }");
  segment.set_resumed_version(3);
  want({segment});
  turns_until_active("s");
  turns(20);
  std::map<std::string, std::vector<std::string>> by_user;
  for (const std::string& change : told("s")) {
    const size_t space = change.find(' ');
    by_user[change.substr(0, space)].push_back(change.substr(space + 1));
  }
  size_t left = 0;
  for (int i = 0; i < 40; ++i) {
    const auto& changes = by_user[fmt::format("u{}", i)];
    if (i % 2 == 0) {
      EXPECT_THAT(changes, ElementsAre("ADD BACKFILLED")) << i;
    } else if (!changes.empty()) {
      ++left;
      EXPECT_THAT(changes, ElementsAre("ADD BACKFILLED", "REMOVE DEFINITION_CHANGED")) << i;
    }
  }
  EXPECT_LE(left, 6u);
  EXPECT_EQ(members("s"), 20);
}

TEST_F(Building, ALimitIsKeptOverACrash) {
  // The pause waits for several saves.
  options_.task.bytes_saved_per_step = 1;
  options_.task.deadlines_per_portion = 2;
  restart();
  limit_members_of_a_window(40);

  cluster_.pass(Duration::Hours(2));
  // What was counted before a crash counts after it.
  turns_until([&] { return told("s").size() > 40 + 10; });
  ASSERT_LE(told("s").size(), 40u + 20);
  process_.reset();
  start();
  // So does that the limit was passed.
  turns_until([&] { return told("s").size() > 40 + 20; });
  const size_t at_most = told("s").size();
  EXPECT_LE(at_most, 40u + 20 + 2);
  ASSERT_NE(process_->board().status("s", 2).status, segments::v1::SEGMENT_STATUS_PAUSED);
  process_.reset();
  start();
  turns_until([&] {
    return process_->board().status("s", 2).status == segments::v1::SEGMENT_STATUS_PAUSED;
  });
  turns(20);
  EXPECT_TRUE(task()->statuses()->at("s").paused_by_guard);
  EXPECT_EQ(told("s").size(), at_most);
}

TEST_F(Building, ALimitThatWasPassedIsForgottenWithItsVersion) {
  Segment limited = Make("s", 1, "live: { actions: { any_of: [ { event: A } ] } }");
  limited.set_max_changes_per_minute(5);
  want({limited});
  turns(20);
  for (int i = 0; i < 5; ++i) append(fmt::format("u{}", i), "A");
  turns(20);
  limited.set_version(2);
  want({limited});
  turns(20);
  restart();
  for (int i = 0; i < 5; ++i) append(fmt::format("v{}", i), "A");
  turns(20);
  EXPECT_EQ(process_->board().status("s", 2).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(told("s").size(), 10u);
}

TEST_F(Building, ATurnWithManySegmentsTakesFewerUsers) {
  options_.task.users_built_per_step = 8;
  restart();
  for (int i = 0; i < 60; ++i) {
    append(fmt::format("u{}", i), "A");
    append(fmt::format("u{}", i), "A");
  }
  turns_until([&] { return task()->users().size() == 60; });
  std::vector<Segment> segments;
  segments.reserve(4);
  for (int i = 0; i < 4; ++i) segments.push_back(Make(fmt::format("s{}", i), 1, kTwice));
  want(segments);
  std::vector<size_t> steps;
  size_t before = 0;
  turns_until([&] {
    size_t all = 0;
    for (const Segment& segment : segments) all += told(segment.id()).size();
    if (all != before) steps.push_back(all - before);
    before = all;
    return all == 240;
  });
  EXPECT_THAT(steps, ::testing::Each(8u));

  // One user is the least.
  options_.task.users_built_per_step = 2;
  restart();
  for (Segment& segment : segments) {
    segment = Make(segment.id(), 2, "past_behavior: { did: { event: A, count: { at_most: 1 } } }");
  }
  want(segments);
  for (const Segment& segment : segments) turns_until_active(segment.id());
  turns_until([&] { return members("s0") == 0; });
}

TEST_F(Building, ChangesOfDifferentMinutesAreCountedApart) {
  Segment limited = Make("s", 1, "live: { actions: { any_of: [ { event: A } ] } }");
  limited.set_max_changes_per_minute(2);
  want({limited});
  turns(20);
  for (int i = 0; i < 10; ++i) {
    append(fmt::format("u{}", i), "A");
    turns(5);
    cluster_.pass(Duration::Minutes(1));
  }
  turns(20);
  EXPECT_EQ(told("s").size(), 10u);
}

TEST_F(Building, APausedSegmentStandsStill) {
  want({Make("s", 1, kTwice)});
  turns(20);
  append("u", "A");
  append("u", "A");
  turns(20);
  Segment paused = Make("s", 2, kTwice);
  paused.set_paused(true);
  want({paused});
  turns(20);
  append("v", "A");
  append("v", "A");
  turns(20);
  EXPECT_EQ(process_->board().status("s", 2).status, segments::v1::SEGMENT_STATUS_PAUSED);
  EXPECT_EQ(told("s").size(), 1u);
  Segment resumed = Make("s", 3, kTwice);
  resumed.set_resumed_version(3);
  want({resumed});
  turns(100);
  EXPECT_EQ(process_->board().status("s", 3).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_THAT(told("s"), ElementsAre("u ADD CONDITION_MET", "v ADD DEFINITION_CHANGED"));
}

TEST_F(Building, SegmentsDeletedTogetherEndInOneGo) {
  constexpr int kSegments = 40;
  std::vector<Segment> segments;
  segments.reserve(kSegments);
  for (int i = 0; i < kSegments; ++i) {
    segments.push_back(
        Make(fmt::format("s{}", i), 1, "live: { actions: { any_of: [ { event: A } ] } }"));
  }
  want(segments);
  turns(20);
  for (int i = 0; i < 5; ++i) append(fmt::format("u{}", i), "A");
  turns(20);
  ASSERT_EQ(told("s39").size(), 5u);
  want({});
  turns(kSegments / 2);
  for (const char* id : {"s0", "s39"}) {
    EXPECT_EQ(told(id).size(), 10u) << id;
    EXPECT_EQ(told(id).back().substr(2), " REMOVE SEGMENT_DELETED") << id;
    EXPECT_EQ(task()->engine().rules().find(id), nullptr) << id;
  }
  restart();
  EXPECT_EQ(told("s39").size(), 10u);
}

TEST_F(Building, EstimatesWithoutATrace) {
  want({Make("inner", 1, "past_behavior: { did: { event: B } }")});
  turns(20);
  for (int i = 0; i < 10; ++i) append(fmt::format("u{}", i), "A");
  for (int i = 0; i < 6; ++i) append(fmt::format("u{}", i), "A");
  append("u0", "B");
  turns(20);
  const int64_t changes = task()->next_change();
  const Segment candidate =
      Make("c", 1,
           "past_behavior: { all_of: [ { did: { event: A, count: { at_least: 2 } } }, { not: { "
           "in_segment: inner } } ] }");
  std::shared_ptr<Estimate> estimate;
  process_->worker().ask(
      [&](Worker& worker) { estimate = *Estimate::Begin(worker, *worker.running(0), candidate); });
  turns_until([&] { return estimate && estimate->read(); });
  bool end = false;
  process_->worker().ask([&](Worker& worker) { end = *estimate->go_on(*worker.running(0)); });
  turns(5);
  EXPECT_TRUE(end);
  EXPECT_EQ(estimate->members(), 5);
  EXPECT_EQ(estimate->users(), 10);
  EXPECT_EQ(task()->next_change(), changes);
  restart();
  EXPECT_NE(task(), nullptr);
}

TEST_F(Building, AnEstimateIsRefusedWhileASegmentThatItRefersToIsBuilt) {
  for (int i = 0; i < 10; ++i) append(fmt::format("u{}", i), "A");
  turns(20);
  const Segment inner = Make("inner", 1, "past_behavior: { did: { event: A } }");
  const Segment middle = Make("middle", 1, "past_behavior: { in_segment: inner }");
  const Segment candidate = Make("c", 1, "past_behavior: { in_segment: middle }");
  const auto begin = [&](absl::StatusOr<std::shared_ptr<Estimate>>* begun) {
    process_->worker().ask(
        [=](Worker& worker) { *begun = Estimate::Begin(worker, *worker.running(0), candidate); });
    turns(1);
  };
  absl::StatusOr<std::shared_ptr<Estimate>> estimate = nullptr;
  begin(&estimate);
  EXPECT_EQ(estimate.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(estimate.status().message(), AllOf(HasSubstr("does not run segment middle yet"),
                                                 HasSubstr("segctl segment watch middle")));

  want({inner, middle});
  turns_until([&] { return phase("inner") != AppliedDefinition::ACTIVE; });
  begin(&estimate);
  EXPECT_EQ(estimate.status().code(), absl::StatusCode::kFailedPrecondition);

  turns_until_active("middle");
  begin(&estimate);
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  turns_until([&] { return (*estimate)->read(); });
  absl::StatusOr<bool> end = false;
  const auto go_on = [&] {
    process_->worker().ask([&](Worker& worker) { end = (*estimate)->go_on(*worker.running(0)); });
    turns(1);
  };
  go_on();
  EXPECT_TRUE(end.value_or(false)) << end.status();
  EXPECT_EQ((*estimate)->members(), 10);

  // One that the segment referred to refers to is built anew: before, and amid, an estimate.
  want({Make("inner", 2, kTwice), middle});
  turns_until([&] { return phase("inner") == AppliedDefinition::BUILDING; });
  EXPECT_EQ(phase("middle"), AppliedDefinition::ACTIVE);
  go_on();
  EXPECT_EQ(end.status().code(), absl::StatusCode::kFailedPrecondition);
  begin(&estimate);
  EXPECT_EQ(estimate.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(estimate.status().message(), HasSubstr("segctl segment watch inner"));
}

TEST_F(Building, AnUpdateThatNeedsNoBuildingEndsNothingThatWaits) {
  append("u", "B");
  append("v", "B");
  turns(20);
  want(
      {Make("s", 1,
            "live: { actions: { any_of: [ { event: A } ] }, filter: { did: { event: B } }, exit: { "
            "on: [ { event: X } ] } }")});
  turns_until([&] { return phase("s") == AppliedDefinition::BUILDING; });
  append("u", "A");
  append("v", "A");
  want({Make("s", 2,
             "live: { actions: { any_of: [ { event: A } ] }, exit: { on: [ { event: X } ] } }")});
  turns_until([&] {
    const ActiveSegment* segment = task()->engine().rules().find("s");
    return segment && segment->segment.version() == 2;
  });
  turns_until_active("s");
  turns(20);
  EXPECT_THAT(told("s"), UnorderedElementsAre("u ADD TRIGGER", "v ADD TRIGGER"));
}

TEST_F(Building, AnEditOfTheNameWhileItIsBuiltChangesNothing) {
  for (const bool edited : {false, true}) {
    const std::string id = edited ? "edited" : "left";
    const std::string rule =
        "live: { actions: { any_of: [ { event: A } ] }, filter: { did: { event: B } } }";
    const std::string u = "u" + id;
    append(u, "C");
    turns(20);
    want({Make(id, 1, rule)});
    turns_until([&] { return phase(id) == AppliedDefinition::BUILDING; });
    append(u, "A");
    append(u, "B");
    if (edited) {
      for (int n = 0; n < 100 && phase(id) == AppliedDefinition::BUILDING &&
                      task()->definitions().by_slot().begin()->second.segment().version() == 1;
           ++n) {
        if (n == 0) {
          Segment second = Make(id, 2, rule);
          second.set_name("another");
          want({second});
        }
        turns(1);
      }
    }
    turns_until_active(id);
    turns(20);
    EXPECT_THAT(told(id), IsEmpty()) << edited;
    want({});
    turns(100);
  }
}

// Which facts are kept follows from all segments together.
TEST_F(Building, OtherSegmentsMeanNothingToAnUpdateWhileItIsBuilt) {
  std::vector<std::vector<std::string>> all;
  for (const bool other : {false, true}) {
    const std::string id = other ? "with" : "without";
    std::vector<Segment> segments;
    if (other) {
      segments.push_back(Make("other", 1,
                              "live: { actions: { any_of: [ { event: C } ] }, exit: { on: [ { "
                              "event: X } ] } }"));
    }
    want(segments);
    turns(20);
    // It takes some steps to read.
    for (int i = 0; i < 600; ++i) append("filler", "B");
    append("u", "B");
    turns(150);
    const auto rule = [&](int v, const char* event) {
      return Make(id, v,
                  fmt::format("live: {{ actions: {{ any_of: [ {{ event: {} }} ] }}, filter: {{ "
                              "did: {{ event: B }} }} }}",
                              event));
    };
    segments.push_back(rule(1, "A"));
    want(segments);
    turns_until([&] { return phase(id) == AppliedDefinition::BUILDING; });
    append("u", "C");
    turns(5);
    ASSERT_EQ(phase(id), AppliedDefinition::BUILDING);
    segments.back() = rule(2, "C");
    want(segments);
    turns_until([&] {
      const ActiveSegment* segment = task()->engine().rules().find(id);
      return segment && segment->segment.version() == 2;
    });
    turns_until_active(id);
    turns(20);
    all.push_back(told(id));
    want({});
    turns(100);
  }
  EXPECT_EQ(all[0], all[1]);
}

TEST_F(Building, ALateTriggerFindsAnInnerSegmentThatIsBuiltWithIt) {
  for (const char* rule : {"past_behavior: { did: { event: B } }",
                           "past_behavior: { did: { event: B, within_last: 1h } }"}) {
    const std::string id = std::string(rule).find("within") != std::string::npos ? "w" : "e";
    append(id + "u", "B");
    cluster_.pass(Duration::Minutes(2));
    const Time late = cluster_.wall;
    cluster_.pass(Duration::Minutes(2));
    append(id + "u", "B");
    turns(20);
    const auto outer = [&](const std::string& name, const std::string& filter) {
      return Make(
          name, 1,
          fmt::format("live: {{ actions: {{ any_of: [ {{ event: A }} ] }}, filter: {{ {} }} }}",
                      filter));
    };
    want({Make("inner" + id, 1, rule), outer("in" + id, "in_segment: inner" + id),
          outer("direct" + id, std::string(rule).substr(17, std::string(rule).size() - 19)),
          outer("out" + id, "not: { in_segment: inner" + id + " }")});
    turns_until([&] { return phase("inner" + id) == AppliedDefinition::BUILDING; });
    append_at(id + "u", "A", late);
    turns_until_active("in" + id);
    turns_until_active("out" + id);
    turns(20);
    EXPECT_THAT(told("direct" + id), ElementsAre(id + "u ADD TRIGGER"));
    EXPECT_THAT(told("in" + id), ElementsAre(id + "u ADD TRIGGER"));
    EXPECT_THAT(told("out" + id), IsEmpty());
    want({});
    turns(100);
  }
}

// After a restart the users whose turn it was are looked at again, and not saved for it.
TEST_F(Building, ASecondLookAtAUserLeavesNoTrace) {
  const Segment inner = Make("inner", 1, "past_behavior: { did: { event: A } }");
  want({inner});
  turns(20);
  for (int i = 0; i < 30; ++i) append(fmt::format("u{:02}", i), "B");
  turns(20);
  const Segment s = Make("s", 1, "past_behavior: { did: { event: B } }");
  want({inner, s});
  turns_until([&] { return told("s").size() > 2; });
  ASSERT_EQ(phase("s"), AppliedDefinition::ACTIVATING);
  process_.reset();
  const Time between = cluster_.wall;
  cluster_.pass(Duration::Seconds(20));
  start();
  turns(20);
  turns_until_active("s");
  turns(20);
  const Segment outer = Make(
      "outer", 1, "live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner } }");
  want({inner, s, outer});
  turns_until([&] { return task()->engine().rules().find("outer") != nullptr; });
  turns(5);
  append_at("u00", "A", between + Duration::Seconds(2));
  turns(5);
  restart();
  EXPECT_NE(task(), nullptr);
}

// Others that are built meanwhile take nothing from what waits, nor what is created for them.
TEST_F(Building, WhatOthersFilterByEndsNothingThatWaits) {
  const auto past = [](const std::string& id) {
    return Make(id, 1, "past_behavior: { did: { event: B, within_last: 1d } }");
  };
  const auto live = [](const std::string& id, int64_t version, const std::string& filter) {
    return Make(id, version,
                fmt::format("live: {{ actions: {{ any_of: [ {{ event: A }} ] }}, filter: {{ {} }}, "
                            "exit: {{ on: [ {{ event: X }} ] }} }}",
                            filter));
  };
  for (int i = 0; i < 600; ++i) append(fmt::format("f{}", i % 60), "B");
  for (int i = 0; i < 4; ++i) append(fmt::format("u{}", i), "B");
  turns(150);
  std::vector<Segment> segments = {past("old"), live("edited", 1,
                                                     "all_of: [ { in_segment: old }, { did: { "
                                                     "event: B } } ]")};
  want(segments);
  turns_until_active("edited");
  append("u0", "A");
  append("u1", "A");
  turns(20);
  ASSERT_THAT(told("edited"), UnorderedElementsAre("u0 ADD TRIGGER", "u1 ADD TRIGGER"));

  segments.push_back(past("first"));
  segments.push_back(live("by-first", 1, "in_segment: first"));
  want(segments);
  turns_until([&] { return phase("by-first") == AppliedDefinition::ACTIVATING; });
  segments[1].set_version(2);
  segments.push_back(past("second"));
  segments.push_back(live("by-second", 1, "in_segment: second"));
  segments.push_back(live("not-second", 1, "not: { in_segment: second }"));
  want(segments);
  turns_until([&] { return phase("by-second") == AppliedDefinition::BUILDING; });
  append("u0", "X");
  append("u2", "A");
  append("v", "A");
  turns(1);
  ASSERT_EQ(phase("by-first"), AppliedDefinition::ACTIVATING);
  turns_until([&] { return phase("by-first") == AppliedDefinition::ACTIVE; });
  ASSERT_NE(phase("by-second"), AppliedDefinition::ACTIVE);
  // And another one, of which nothing is to be built.
  segments.push_back(live("fourth", 1, "in_segment: old"));
  want(segments);
  turns(3);
  ASSERT_NE(phase("by-second"), AppliedDefinition::ACTIVE);
  turns_until_active("by-second");
  turns_until_active("edited");
  turns(60);
  EXPECT_THAT(told("by-second"), ElementsAre("u2 ADD TRIGGER"));
  EXPECT_THAT(told("not-second"), ElementsAre("v ADD TRIGGER"));
  EXPECT_THAT(told("by-first"), ElementsAre("u2 ADD TRIGGER"));
  EXPECT_THAT(told("edited"), UnorderedElementsAre("u0 ADD TRIGGER", "u1 ADD TRIGGER",
                                                   "u0 REMOVE EXIT_EVENT", "u2 ADD TRIGGER"));
}

// Also while the history takes longer to read than max_lateness.
TEST_F(Building, ADateIsJudgedByWhatItsFilterWasThen) {
  for (const bool others : {false, true}) {
    const std::string x = others ? "o" : "n";
    const std::string u = "u" + x;
    want({});
    turns(50);
    const Segment inner =
        Make("inner" + x, 1, "past_behavior: { did: { event: B, within_last: 30m } }");
    const Segment z =
        Make("z" + x, 1,
             "live: { actions: { any_of: [ { event: Z } ] }, exit: { on: [ { event: Y "
             "} ] } }");
    const Segment date = Make("d" + x, 1,
                              fmt::format("live: {{ date_time: {{ property: when }}, filter: {{ "
                                          "in_segment: inner{} }} }}",
                                          x));
    want({inner, z});
    turns(50);
    turns_until_active("inner" + x);
    for (int i = 0; i < 600; ++i) append("filler", "B");
    for (int i = 0; i < 20; ++i) append(u, "B");
    const Time when = cluster_.wall + Duration::Minutes(20);
    append_when(u, when);
    turns(150);
    // A filter that counts the past keeps it building.
    const Segment slow = Make(
        "d" + x, 1,
        fmt::format("live: {{ date_time: {{ property: when }}, filter: {{ all_of: [ {{ in_segment: "
                    "inner{} }}, {{ did: {{ event: B }} }} ] }} }}",
                    x));
    want({inner, z, slow});
    turns_until([&] { return phase("d" + x) == AppliedDefinition::BUILDING; });
    cluster_.pass(Duration::Minutes(25));
    turns(2);
    cluster_.pass(Duration::Hours(3));
    if (others) append(u, "Z");
    turns(3);
    ASSERT_EQ(phase("d" + x), AppliedDefinition::BUILDING);
    turns_until_active("d" + x);
    turns(20);
    EXPECT_THAT(told("d" + x), ElementsAre(u + " ADD DATE_TIME"));
  }
}

}  // namespace
}  // namespace segmentd::simulation
