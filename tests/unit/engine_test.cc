#include "segment/engine.h"

#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rapidcheck/gtest.h"

#include "segment/history.h"
#include "tests/unit/small_engine.h"

namespace segmentd {
namespace {

using property::Command;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr auto kSet = ProfileOperation::kSet;

Command Set(std::string property, property::Datum value) {
  return {kSet, std::move(property), std::move(value)};
}

// -- Kinds of live segments -----------------------------------------------------------------------

TEST(Engine, AnActionAddsOnceAndStays) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A }, { event: B } ] } } }");
  EXPECT_THAT(engine.send({"10:00", "C"}), IsEmpty());
  EXPECT_THAT(engine.send({"10:01", "B", {}, {}, "m1"}),
              ElementsAre("ADD 10:01 TRIGGER by B of 10:01 id m1"));
  EXPECT_THAT(engine.send({"10:02", "A"}), IsEmpty());
  EXPECT_TRUE(engine.member());
}

TEST(Engine, ExitAfterCountsFromTheLastQualification) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:30", "A"});
  EXPECT_EQ(engine.user().next_deadline, At("11:30"));
  EXPECT_THAT(engine.clock("11:29:59.999"), IsEmpty());
  EXPECT_THAT(engine.clock("11:30"), ElementsAre("REMOVE 11:30 EXPIRED by A of 10:30"));
  EXPECT_EQ(engine.user().next_deadline, Time::Max());
}

TEST(Engine, AnEventAtTheDeadlineComesAfterIt) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }");
  engine.send({"10:00", "A"});
  EXPECT_THAT(engine.send({"11:00", "A"}),
              ElementsAre("REMOVE 11:00 EXPIRED by A of 10:00", "ADD 11:00 TRIGGER by A of 11:00"));
}

TEST(Engine, RepeatTellsEachQualification) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ], repeat: true }, "
      "exit: { on: [ { event: A, where: [ { property: last, equals: true } ] } ] } } }");
  engine.send({"10:00", "A"});
  EXPECT_THAT(engine.send({"10:01", "A"}), ElementsAre("QUALIFIED 10:01 TRIGGER by A of 10:01"));
  // Exits and qualifies: stays, and has qualified.
  EXPECT_THAT(engine.send({"10:02", "A", {{"last", true}}}),
              ElementsAre("QUALIFIED 10:02 TRIGGER by A of 10:02"));
}

TEST(Engine, InactionJoinsAtTheDeadlineAndLeavesAtTheEvent) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:05", "A"});  // One is pending: nothing.
  EXPECT_THAT(engine.clock("10:10"), ElementsAre("ADD 10:10 INACTION by A of 10:00"));
  EXPECT_THAT(engine.send({"10:11", "B", {}, {}, "m"}),
              ElementsAre("REMOVE 10:11 EXIT_EVENT by B of 10:11 id m"));
}

TEST(Engine, ACancellationAtExactlyTheDeadlineComesTooLate) {
  constexpr const char* kYaml =
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m } } }";
  SmallEngine before(kYaml);
  before.send({"10:00", "A"});
  EXPECT_THAT(before.send({"10:09:59.999", "B"}), IsEmpty());
  EXPECT_THAT(before.clock("12:00"), IsEmpty());

  SmallEngine at(kYaml);
  at.send({"10:00", "A"});
  EXPECT_THAT(at.send({"10:10", "B"}), ElementsAre("ADD 10:10 INACTION by A of 10:00",
                                                   "REMOVE 10:10 EXIT_EVENT by B of 10:10"));
}

TEST(Engine, AnEventThatTriggersAndCancelsStartsAnew) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: A } ], "
      "within: 10m } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:06", "A"});
  EXPECT_THAT(engine.clock("10:15"), IsEmpty());
  EXPECT_THAT(engine.clock("10:16"), ElementsAre("ADD 10:16 INACTION by A of 10:06"));
}

TEST(Engine, RestartCountsFromTheLastTrigger) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m, restart: true } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:05", "A"});
  EXPECT_THAT(engine.clock("10:14"), IsEmpty());
  EXPECT_THAT(engine.clock("10:15"), ElementsAre("ADD 10:15 INACTION by A of 10:05"));
}

TEST(Engine, MatchCancelsByValue) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m, match: cart } } }");
  engine.send({"10:00", "A", {{"cart", 1.0}}});
  engine.send({"10:01", "A", {{"cart", 2.0}}});
  engine.send({"10:02", "A"});                   // Without the property it takes no part,
  engine.send({"10:02", "B"});                   // nor does this.
  engine.send({"10:03", "B", {{"cart", "1"}}});  // Another value: a text.
  engine.send({"10:04", "B", {{"cart", 1.0}}});
  EXPECT_THAT(engine.clock("10:30"), ElementsAre("ADD 10:11 INACTION by A of 10:01"));
  EXPECT_THAT(engine.send({"10:31", "B", {{"cart", 1.0}}}), IsEmpty());
  EXPECT_THAT(engine.send({"10:32", "B", {{"cart", 2.0}}}),
              ElementsAre("REMOVE 10:32 EXIT_EVENT by B of 10:32"));
}

TEST(Engine, OfMoreThan25PendingValuesTheOldestGoes) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 1h, match: cart } } }");
  for (int cart = 0; cart < 25; ++cart) {
    engine.send({absl::StrCat("10:00:", cart + 10), "A", {{"cart", double(cart)}}});
  }
  EXPECT_EQ(engine.engine().counters().pendings_dropped, 0);
  EXPECT_EQ(engine.user().next_deadline, At("11:00:10"));
  engine.send({"10:01", "A", {{"cart", 25.0}}});
  EXPECT_EQ(engine.engine().counters().pendings_dropped, 1);
  EXPECT_EQ(engine.user().next_deadline, At("11:00:11"));
}

TEST(Engine, APendingThatFallsDueForAMemberHasNoEffect) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m, match: cart }, exit: { after: 5m } } }");
  engine.send({"10:00", "A", {{"cart", 1.0}}});
  engine.send({"10:05", "A", {{"cart", 2.0}}});
  // At 10:15 the membership ends, and the second would join: judged on the state before.
  EXPECT_THAT(engine.clock("12:00"), ElementsAre("ADD 10:10 INACTION by A of 10:00",
                                                 "REMOVE 10:15 EXPIRED by A of 10:00"));
}

TEST(Engine, TheFilterOfAnInactionIsJudgedAtTheDeadline) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m }, filter: { property: { property: country, equals: IN } } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:10", "", {}, {Set("country", "IN")}});  // At the deadline: after it.
  EXPECT_FALSE(engine.member());
  engine.send({"10:20", "A"});
  EXPECT_THAT(engine.clock("10:30"), ElementsAre("ADD 10:30 INACTION by A of 10:20"));
}

TEST(Engine, AFilterSeesTheEventsOwnProfileCommands) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, "
      "filter: { property: { property: country, equals: IN } } } }");
  EXPECT_THAT(engine.send({"10:00", "A"}), IsEmpty());
  EXPECT_THAT(engine.send({"10:01", "A", {}, {Set("country", "IN")}}),
              ElementsAre("ADD 10:01 TRIGGER by A of 10:01"));
}

TEST(Engine, AReferrerCountsOnTheFirstPageOfASession) {
  constexpr const char* kYaml =
      "{ name: S, live: { referrer: { url: { contains: partner }, repeat: true } } }";
  SmallEngine engine(kYaml);
  const auto page = [&](const char* time, const char* referrer) {
    return engine.send(
        {time, "Page Viewed", {{"url", "https://a.example/"}, {"referrer", referrer}}});
  };
  EXPECT_THAT(page("10:00", "https://www.A.example/partner"), IsEmpty()) << "not external";
  EXPECT_THAT(page("10:29:59.999", "https://partner.example/"), IsEmpty()) << "not the first";
  EXPECT_THAT(page("10:59:59.999", "https://partner.example/"),
              ElementsAre("ADD 10:59:59.999 TRIGGER by Page Viewed of 10:59:59.999"))
      << "after exactly 30 minutes";
}

TEST(Engine, PagesOfASessionAreCounted) {
  SmallEngine engine(
      "{ name: S, live: { page_count: { at_least: 2, per: session }, exit: { after: 1m } } }");
  engine.send({"10:00", "Page Viewed"});
  EXPECT_THAT(engine.send({"10:30", "Page Viewed"}), IsEmpty()) << "another session";
  EXPECT_THAT(engine.send({"10:59:59", "Page Viewed"}),
              ElementsAre("ADD 10:59:59 TRIGGER by Page Viewed of 10:59:59"));
}

TEST(Engine, DifferentPagesInAWindowAreCounted) {
  SmallEngine engine(
      "{ name: S, live: { page_count: { at_least: 2, distinct_urls: true, within: 10m } } }");
  engine.send({"10:00", "Page Viewed", {{"url", "/a"}}});
  engine.send({"10:01", "Page Viewed", {{"url", "/a"}}});
  engine.send({"10:02", "Page Viewed"});  // Without a URL it is not counted.
  EXPECT_THAT(engine.send({"10:11", "Page Viewed", {{"url", "/b"}}}), IsEmpty())
      << "the first is 10 minutes ago";
  EXPECT_THAT(engine.send({"10:12", "Page Viewed", {{"url", "/a"}}}),
              ElementsAre("ADD 10:12 TRIGGER by Page Viewed of 10:12"));
}

// -- Late events, duplicates ----------------------------------------------------------------------

TEST(Engine, ALateEventCorrectsThePresent) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m } } }");
  engine.send({"10:00", "A"});
  EXPECT_THAT(engine.clock("10:20"), ElementsAre("ADD 10:10 INACTION by A of 10:00"));
  EXPECT_THAT(engine.send({"10:05", "B", {}, {}, "m", "10:21"}),
              ElementsAre("REMOVE 10:05 LATE_EVENT by B of 10:05 id m"));
  EXPECT_EQ(engine.outcome(), Outcome::kLate);
}

TEST(Engine, ALateEventThatChangesNothingNowTellsNothing) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 10m } } }");
  engine.send({"11:00", "C"});
  EXPECT_THAT(engine.send({"10:00", "A"}), IsEmpty()) << "a member from 10:00 to 10:10";
  EXPECT_FALSE(engine.member());
}

TEST(Engine, ALateQualificationOfAMemberIsTold) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ], repeat: true } } }");
  engine.send({"10:00", "A"});
  engine.send({"11:00", "C"});
  EXPECT_THAT(engine.send({"10:30", "A"}), ElementsAre("QUALIFIED 10:30 LATE_EVENT by A of 10:30"));
  EXPECT_THAT(engine.send({"09:30", "A"}), IsEmpty()) << "it joins there, which was told";
}

TEST(Engine, TooLateMeansMoreThanMaxLateness) {
  constexpr const char* kYaml = "{ name: S, live: { actions: { any_of: [ { event: A } ] } } }";
  SmallEngine by_record(kYaml);
  EXPECT_THAT(by_record.send({"10:00", "A", {}, {}, "", "12:00:00.001"}), IsEmpty());
  EXPECT_EQ(by_record.outcome(), Outcome::kTooLate);
  by_record.send({"10:00:00.001", "A", {}, {}, "", "12:00:00.001"});
  EXPECT_TRUE(by_record.member());

  SmallEngine by_event(kYaml);
  by_event.send({"12:00:00.001", "C"});
  by_event.send({"10:00", "A"});
  EXPECT_EQ(by_event.outcome(), Outcome::kTooLate);
  by_event.send({"10:00:00.001", "A"});
  EXPECT_TRUE(by_event.member());
}

TEST(Engine, ADuplicateHasNoEffectForMaxLateness) {
  constexpr const char* kYaml =
      "{ name: S, live: { actions: { any_of: [ { event: A } ], repeat: true } } }";
  SmallEngine engine(kYaml);
  engine.send({"10:00", "A", {}, {}, "m"});
  EXPECT_THAT(engine.send({"10:00", "A", {}, {}, "m", "12:00"}), IsEmpty());
  EXPECT_EQ(engine.outcome(), Outcome::kDuplicate);
  engine.send({"12:00:00.001", "A", {}, {}, "m"});
  EXPECT_EQ(engine.outcome(), Outcome::kApplied);
}

TEST(Engine, WhatHadNoEffectIsNotRemembered) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.send({"10:00", "C", {}, {}, "m"});
  engine.send({"10:00", "A", {}, {}, "n", "13:00"});  // Too late.
  EXPECT_THAT(engine.user().seen, IsEmpty());
  engine.send({"13:00", "", {}, {Set("country", "IN")}, "o"});
  EXPECT_EQ(engine.user().seen.size(), 1u);
}

TEST(Engine, OwnDeadlinesFireGraceAfterThemOrBeforeAnEventAtThem) {
  constexpr const char* kYaml =
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }";
  SmallEngine by_record(kYaml);
  by_record.send({"10:00", "A"});
  EXPECT_THAT(by_record.send({"10:30", "C", {}, {}, "", "11:00:00.999"}), IsEmpty());
  EXPECT_THAT(by_record.send({"10:30", "C", {}, {}, "", "11:00:01"}),
              ElementsAre("REMOVE 11:00 EXPIRED by A of 10:00"));

  SmallEngine by_event(kYaml);
  by_event.send({"10:00", "A"});
  EXPECT_THAT(by_event.send({"11:00", "C"}), ElementsAre("REMOVE 11:00 EXPIRED by A of 10:00"));
}

TEST(Engine, ACommandThatCameTooLateCountsFromItsRecordTime) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ], repeat: true }, "
      "filter: { property: { property: country, equals: IN } } } }");
  engine.send({"09:00", "", {}, {Set("country", "IN")}, "", "12:00"});
  EXPECT_THAT(engine.send({"11:59:59.999", "A", {}, {}, "", "12:00"}), IsEmpty());
  EXPECT_THAT(engine.send({"12:00", "A"}), ElementsAre("ADD 12:00 TRIGGER by A of 12:00"));
}

TEST(Engine, AnEventBeforeACommandThatCameTooLateIsInOrder) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 10m } } }");
  engine.send({"09:00", "", {}, {Set("country", "IN")}, "", "12:00"});
  EXPECT_THAT(
      engine.send({"11:30", "A", {}, {}, "m", "12:00"}),
      ElementsAre("ADD 11:30 TRIGGER by A of 11:30 id m", "REMOVE 11:40 EXPIRED by A of 11:30"));
  EXPECT_EQ(engine.outcome(), Outcome::kApplied);
}

TEST(Engine, ACommandThatCameTooLateIsSeenByDeadlinesAfterItsMoment) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m }, filter: { property: { property: country, equals: IN } } } }");
  engine.send({"12:00", "A"});
  EXPECT_THAT(engine.clock("12:30"), IsEmpty());
  // A producer's record time, behind the clock.
  EXPECT_THAT(engine.send({"09:00", "Move", {}, {Set("country", "IN")}, "", "12:05"}),
              ElementsAre("ADD 12:10 LATE_EVENT by Move of 09:00"));
}

// -- What is kept ---------------------------------------------------------------------------------

TEST(Engine, ACorrectionNamesATransitionThatIsOnlyInTheBase) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: A } ], "
      "within: 10m }, exit: { on: [ { event: X } ] } } }",
      {.max_lateness = Duration::Minutes(10)});
  engine.send({"08:00", "A"});
  EXPECT_THAT(engine.send({"08:30", "X"}), ElementsAre("ADD 08:10 INACTION by A of 08:00",
                                                       "REMOVE 08:30 EXIT_EVENT by X of 08:30"));
  for (int i = 10; i < 50; ++i) engine.send({absl::StrCat("09:00:", i), "X"});
  engine.send({"10:00", "A"});
  ASSERT_NE(engine.user().base, nullptr);
  ASSERT_LT(engine.user().facts.size(), 20u);
  EXPECT_THAT(engine.clock("10:10"), ElementsAre("ADD 10:10 INACTION by A of 10:00"));
  EXPECT_THAT(engine.send({"10:05", "A", {}, {}, "", "10:11"}),
              ElementsAre("REMOVE 08:30 LATE_EVENT by A of 10:05"));
}

TEST(Engine, TheBaseFiresItsDeadlinesBeforeLaterCommands) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m }, filter: { property: { property: country, equals: IN } } } }",
      {.max_lateness = Duration::Minutes(10)});
  engine.send({"08:00", "A", {}, {Set("country", "IN")}});
  EXPECT_THAT(engine.clock("08:10"), ElementsAre("ADD 08:10 INACTION by A of 08:00"));
  // No condition is met here, but the profile moves on, and the base with it.
  for (int i = 10; i < 50; ++i) {
    engine.send({absl::StrCat("09:00:", i), "", {}, {Set("country", "US")}});
  }
  engine.send({"10:00", "C"});
  engine.send({"10:00", "", {}, {Set("city", "Pune")}});
  ASSERT_NE(engine.user().base, nullptr);
  // A late command folds all since the base again.
  EXPECT_THAT(engine.send({"09:55", "", {}, {Set("city", "Delhi")}}), IsEmpty());
  EXPECT_TRUE(engine.member());
}

TEST(Engine, ACommandAtTheEndOfTheBaseCountsOnce) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, "
      "filter: { property: { property: n, equals: 1 } } } }",
      {.max_lateness = Duration::Minutes(10)});
  for (int i = 10; i < 50; ++i) engine.send({absl::StrCat("09:49:", i), "A"});
  engine.send({"09:50", "", {}, {{ProfileOperation::kIncrement, "n", 1.0}}});
  engine.send({"10:00", "", {}, {Set("city", "Pune")}});
  ASSERT_NE(engine.user().base, nullptr);
  EXPECT_THAT(engine.send({"09:55", "A"}), ElementsAre("ADD 09:55 LATE_EVENT by A of 09:55"));
}

TEST(Engine, CommandsThatCameTooLateFindTheirPlaceAmongThemselves) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, "
      "filter: { property: { property: n, equals: 11 } } } }");
  const auto increment = ProfileOperation::kIncrement;
  engine.send({"09:00", "", {}, {{increment, "n", 1.0}}, "", "12:05", "12:10"});
  engine.send(
      {"09:00", "", {}, {{increment, "n", 10.0}}, "", "12:03"});  // A producer's record time.
  EXPECT_THAT(engine.send({"12:10", "A"}), ElementsAre("ADD 12:10 TRIGGER by A of 12:10"));
}

TEST(Engine, FactsAreBounded) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { on: [ { event: B } ] } } "
      "}",
      {.max_facts = 32, .max_message_ids = 8});
  for (int i = 100; i < 999; ++i) {
    engine.send(
        {absl::StrCat("10:00:00.", i), i % 2 == 0 ? "A" : "B", {}, {}, absl::StrCat("m", i)});
    ASSERT_LE(engine.user().facts.size(), 32u);
    ASSERT_LE(engine.user().seen.size(), 8u);
  }
  EXPECT_TRUE(engine.member());
  EXPECT_GT(engine.engine().counters().facts_dropped, 0);
  EXPECT_GT(engine.engine().counters().message_ids_dropped, 0);
  // What is beyond the base is too late.
  engine.send({"10:00:00.050", "A"});
  EXPECT_EQ(engine.outcome(), Outcome::kTooLate);
}

// What is too late by its age was cut off by no bound, though the base has moved on since.
TEST(Engine, OnlyABoundDropsFacts) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1m } } }",
      {.max_lateness = Duration::Minutes(10)});
  for (int i = 10; i < 50; ++i) engine.send({absl::StrCat("10:05:", i), "A"});
  engine.send({"10:20", "A"});
  ASSERT_LT(engine.user().facts.size(), 20u);
  engine.send({.time = "10:05:10", .name = "A", .record_time = "10:20"});
  EXPECT_EQ(engine.outcome(), Outcome::kTooLate);
  EXPECT_EQ(engine.engine().counters().facts_dropped, 0);
}

TEST(Engine, WhatABoundCutsOffOfAHistoryIsCounted) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: C } ] } } }",
                     {.max_facts = 3});
  for (int i = 10; i < 15; ++i) engine.send({absl::StrCat("10:05:", i), "A"});
  engine.define(1,
                "{ name: L, live: { actions: { any_of: [ { event: B } ] }, "
                "filter: { did: { event: A } } } }");
  EXPECT_EQ(engine.engine().counters().facts_dropped, 2);
}

TEST(Engine, MessageIdsOfAHistoryAreBounded) {
  std::vector<ActiveSegment> segments =
      ActiveFromYaml("{ name: S, past_behavior: { did: { event: A } } }");
  segments[0].built = false;
  Engine engine(*RuleSet::Compile(segments), {.max_message_ids = 2});
  Past past;
  past.measures.resize(1);
  for (uint64_t id = 1; id <= 5; ++id) past.messages.push_back({id, At("09:00"), Offset(0)});
  UserState user;
  Changes changes;
  engine.build(0, At("10:00"), &past, segments::v1::BACKFILLED, user, changes);
  ASSERT_EQ(user.seen.size(), 2u);
  EXPECT_EQ(user.seen[0].id, 4u) << "the oldest go";
  EXPECT_EQ(engine.counters().message_ids_dropped, 3);
}

TEST(Engine, AsManyFactsGoAsAreOver) {
  // The first event leaves one fact, each that follows seven: of 36 the oldest eighth, cut between
  // two moments, is one.
  std::string segments =
      "{ name: S, live: { inaction: { trigger: { event: B }, does_not_do: [ { event: C } ], "
      "within: 1h } } }";
  for (int i = 0; i < 7; ++i) {
    absl::StrAppend(&segments,
                    "\n---\n{ name: S, live: { actions: { any_of: [ { event: A, where: [ ",
                    "{ property: n, at_least: ", i, " } ] } ] }, exit: { after: 1h } } }");
  }
  SmallEngine engine(segments, {.max_facts = 32});
  engine.send({"10:00:00", "B"});
  ASSERT_EQ(engine.user().facts.size(), 1u);
  for (int i = 1; i < 60; ++i) {
    engine.send({absl::StrFormat("10:00:%02d", i), "A", {{"n", 10.0}}});
    ASSERT_LE(engine.user().facts.size(), 32u) << i;
    ASSERT_GE(engine.user().facts.size(), std::min(1u + 7u * static_cast<unsigned>(i), 22u)) << i;
  }
}

TEST(Engine, ProfileCommandsAreBoundedInBytes) {
  SmallEngine engine("{ name: S, past_behavior: { property: { property: last, equals: v599 } } }");
  const auto kept = [&] {
    size_t bytes = 0;
    for (const ProfileWrite& write : engine.user().writes) bytes += write.bytes();
    return bytes;
  };
  for (int i = 0; i < 600; ++i) {
    engine.send({absl::StrFormat("10:%02d:%02d", i / 60, i % 60),
                 "",
                 {},
                 {{ProfileOperation::kSet, "long", std::string(1'000, 'v')},
                  {ProfileOperation::kSet, "last", absl::StrCat("v", i)}}});
    ASSERT_LE(kept(), kMaxWriteBytes) << i;
  }
  EXPECT_GT(kept(), kMaxWriteBytes / 2);
  EXPECT_GT(engine.engine().counters().facts_dropped, 0);
  EXPECT_EQ(engine.engine().counters().profile_writes_refused, 0);
  EXPECT_TRUE(engine.member());
  // All at one moment.
  for (int i = 0; i < 600; ++i) {
    engine.send({"11:00", "", {}, {{ProfileOperation::kSet, "long", std::string(1'000, 'v')}}});
    ASSERT_LE(kept(), kMaxWriteBytes) << i;
  }
  EXPECT_TRUE(engine.member());
}

TEST(Engine, WhatComesTooLateAtOnceIsBounded) {
  SmallEngine engine(R"(
name: S
past_behavior: { property: { property: last, exists: true } }
---
name: T
past_behavior: { did: { event: A, count: { at_least: 40 } } }
)",
                     {.max_facts = 32});
  engine.send({"10:00", "B"});
  // All of them count from 13:00 on.
  for (int i = 0; i < 100; ++i) {
    engine.send(
        {"10:00", "A", {}, {{ProfileOperation::kSet, "last", absl::StrCat("v", i)}}, "", "13:00"});
    ASSERT_LE(engine.user().writes.size(), 32u) << i;
    ASSERT_LE(engine.user().facts.size(), 32u) << i;
  }
  EXPECT_EQ(engine.engine().counters().facts_dropped, 68);
  EXPECT_THAT(engine.clock("13:00"), ElementsAre("ADD 13:00 PROFILE_CHANGED by A of 10:00"));
  // And so on, when the moment is past.
  for (int i = 0; i < 10; ++i) engine.send({"10:00", "A", {}, {}, "", "13:30"});
  EXPECT_THAT(engine.clock("13:30"), ElementsAre("1: ADD 13:30 CONDITION_MET by A of 10:00"));
}

TEST(Engine, ARefusedWriteIsCountedOnce) {
  SmallEngine engine("{ name: S, past_behavior: { property: { property: a, exists: true } } }");
  for (int i = 0; i < 2; ++i) {
    engine.send({absl::StrCat("10:0", i),
                 "",
                 {},
                 {{ProfileOperation::kSet, absl::StrCat("a", i), std::string(10'000, 'v')}}});
  }
  EXPECT_EQ(engine.engine().counters().profile_writes_refused, 1);
  // Folded again for what is late, and taken in by the base.
  engine.send({"09:59", "", {}, {{ProfileOperation::kSet, "b", "v"}}});
  for (int i = 0; i < 100; ++i) {
    engine.send({absl::StrFormat("14:%02d:%02d", i / 60, i % 60),
                 "",
                 {},
                 {{ProfileOperation::kSet, "b", "v"}}});
  }
  EXPECT_EQ(engine.engine().counters().profile_writes_refused, 1);
}

TEST(Engine, WhatNoProfileTakesIsNotKept) {
  SmallEngine engine("{ name: S, past_behavior: { property: { property: a, exists: true } } }");
  engine.send({"10:00",
               "",
               {},
               {{ProfileOperation::kSet, "a", std::string(kMaxProfileBytes + 1, 'v')},
                {ProfileOperation::kSet, "b", "v"}}});
  EXPECT_EQ(engine.user().writes.size(), 1u);
  EXPECT_EQ(engine.engine().counters().profile_writes_refused, 1);
  EXPECT_FALSE(engine.member());
}

TEST(Engine, OrderFreeSegmentsKeepNoFacts) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.send({"10:00", "A"});
  EXPECT_THAT(engine.user().facts, IsEmpty());
}

TEST(Engine, OrderFreeSegmentsAreToldOnceWhenOthersShareTheirCondition) {
  SmallEngine engine(R"(
name: First
live: { actions: { any_of: [ { event: A } ] } }
---
name: Second
live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } }
)");
  EXPECT_THAT(engine.send({"10:00", "A"}),
              ElementsAre("ADD 10:00 TRIGGER by A of 10:00", "1: ADD 10:00 TRIGGER by A of 10:00"));
  // Folds again, though in order: the command came too late and counts from 14:00.
  engine.send({"10:30", "", {}, {Set("country", "IN")}, "", "14:00"});
  EXPECT_THAT(engine.send({"13:30", "A", {}, {}, "", "14:00:30"}),
              ElementsAre("1: ADD 13:30 TRIGGER by A of 13:30"));
}

// -- Versions -------------------------------------------------------------------------------------

TEST(Engine, MembersStayAtAnEditAndPendingsEnd) {
  constexpr const char* kYaml =
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m, match: cart } } }";
  SmallEngine engine(kYaml);
  engine.send({"10:00", "A", {{"cart", 1.0}}});
  engine.clock("10:10");
  ASSERT_TRUE(engine.member());
  engine.send({"10:20", "A", {{"cart", 2.0}}});
  EXPECT_THAT(engine.define(0, kYaml), IsEmpty());
  EXPECT_TRUE(engine.member());
  EXPECT_EQ(engine.user().next_deadline, Time::Max());
  EXPECT_THAT(engine.send({"10:21", "B", {{"cart", 2.0}}}), IsEmpty());
  EXPECT_THAT(engine.send({"10:22", "B", {{"cart", 1.0}}}),
              ElementsAre("REMOVE 10:22 EXIT_EVENT by B of 10:22"));
}

TEST(Engine, ExitAfterCountsFromTheUsersNowAtTheActivation) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.send({"10:00", "A", {}, {}, "", "10:00"});
  engine.send({"11:30", "C", {}, {}, "", "11:29"});  // Ahead of the clock.
  engine.define(0,
                "{ name: S, live: { actions: { any_of: [ { event: A } ] }, "
                "exit: { after: 30s } } }");
  EXPECT_EQ(engine.user().next_deadline, At("11:30:30"));
  EXPECT_THAT(engine.clock("12:00"), ElementsAre("REMOVE 11:30:30 EXPIRED"));
}

TEST(Engine, AnOlderEventDoesNotShortenAMembershipThatWasTakenOver) {
  constexpr const char* kYaml =
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }";
  SmallEngine engine(kYaml);
  engine.send({"10:00", "A"});
  engine.clock("10:30");
  engine.define(0, kYaml);
  EXPECT_THAT(engine.send({"10:10", "A", {}, {}, "", "10:31"}), IsEmpty());
  EXPECT_THAT(engine.clock("12:00"), ElementsAre("REMOVE 11:30 EXPIRED by A of 10:10"));
}

TEST(Engine, AMemberWhoJoinedByNoValueLeavesAtAnyCancellation) {
  constexpr const char* kPlain =
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m } } }";
  constexpr const char* kMatch =
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], "
      "within: 10m, match: cart } } }";
  const auto leaves = ElementsAre("REMOVE 11:00 EXIT_EVENT by B of 11:00");
  SmallEngine to_match(kPlain);
  to_match.send({"10:00", "A"});
  to_match.clock("10:10");
  to_match.define(0, kMatch);
  EXPECT_THAT(to_match.send({"11:00", "B", {{"cart", 1.0}}}), leaves);

  SmallEngine from_match(kMatch);
  from_match.send({"10:00", "A", {{"cart", 1.0}}});
  from_match.clock("10:10");
  from_match.define(0, kPlain);
  EXPECT_THAT(from_match.send({"11:00", "B"}), leaves);
}

TEST(Engine, EventsBeforeTheActivationDoNotCount) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: X } ] } } }");
  engine.send({"10:00", "A"});
  engine.define(1,
                "{ name: T, live: { inaction: { trigger: { event: A }, "
                "does_not_do: [ { event: B } ], within: 10m } } }");
  EXPECT_THAT(engine.clock("11:00"), IsEmpty());
  // A late record, but read after the activation: it counts.
  EXPECT_THAT(engine.send({"10:30", "A", {}, {}, "", "11:00:30"}),
              ElementsAre("1: ADD 10:40 INACTION by A of 10:30"));
}

TEST(Engine, DeletionRemovesMembersAndTheirDeadlines) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }");
  engine.send({"10:00", "A"});
  engine.clock("10:10");
  EXPECT_THAT(engine.erase(0), ElementsAre("REMOVE 10:10 SEGMENT_DELETED"));
  EXPECT_EQ(engine.user().next_deadline, Time::Max());
  EXPECT_THAT(engine.user().present.segments, IsEmpty());
}

TEST(Engine, ASegmentThatIsBeingDeletedHasNoDeadlines) {
  std::vector<ActiveSegment> segments = ActiveFromYaml(
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, exit: { after: 1h } } }");
  Engine engine(*RuleSet::Compile(segments), Settings());
  UserState user;
  Changes changes;
  engine.apply({.name = "A", .time = At("10:00"), .record_time = At("10:00")}, Time::Min(), user,
               changes);
  ASSERT_EQ(user.next_deadline, At("11:00"));
  segments[0].deleting = true;
  engine.use(*RuleSet::Compile(segments));
  EXPECT_TRUE(engine.take_over(user)) << "a restored task takes over all, and must find the same";
  EXPECT_EQ(user.next_deadline, Time::Max());
  EXPECT_TRUE(IsMember(user, 0)) << "until its turn comes";
  changes.clear();
  // A late event folds again, and must not tell of it.
  engine.apply({.name = "B", .time = At("09:00"), .record_time = At("10:00"), .offset = Offset(1)},
               Time::Min(), user, changes);
  EXPECT_THAT(changes, IsEmpty());
  EXPECT_TRUE(engine.remove(0, At("10:30"), user, changes));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].reason, segments::v1::SEGMENT_DELETED);
  EXPECT_FALSE(engine.remove(0, At("10:30"), user, changes)) << "gone";
}

// It can vanish from the definitions topic, whoever refers to it.
constexpr const char* kInnerAndOuters =
    "{ id: inner, name: I, past_behavior: { did: { event: K } } }\n---\n"
    "{ id: outer, name: O, past_behavior: { any_of: [ { not: { in_segment: inner } }, { did: { "
    "event: L, count: { at_least: 2 } } } ] } }\n---\n"
    "{ id: most, name: M, past_behavior: { in_segment: outer } }\n---\n"
    "{ id: with, name: W, past_behavior: { all_of: [ { in_segment: inner }, { not: { did: { event: "
    "N } } } ] } }";

TEST(Engine, WhoRefersToADeletedSegmentChangesWithIt) {
  SmallEngine engine(kInnerAndOuters);
  EXPECT_THAT(engine.send({"10:00", "K"}), ElementsAre("ADD 10:00 CONDITION_MET by K of 10:00",
                                                       "3: ADD 10:00 CONDITION_MET by K of 10:00"));
  engine.clock("10:10");
  EXPECT_THAT(engine.erase(0),
              ElementsAre("REMOVE 10:10 SEGMENT_DELETED", "1: ADD 10:10 CONDITION_MET",
                          "2: ADD 10:10 CONDITION_MET", "3: REMOVE 10:10 CONDITION_LOST"));
  for (Slot slot : {1, 2, 3}) EXPECT_EQ(engine.explain(slot).member(), slot != 3) << slot;
  // What is folded again finds the same.
  EXPECT_THAT(engine.send({"10:05", "L"}), IsEmpty());
  EXPECT_THAT(engine.send({"10:06", "N"}), IsEmpty());
  EXPECT_THAT(engine.send({"10:20", "L"}), IsEmpty());
  for (Slot slot : {1, 2}) EXPECT_TRUE(engine.member(slot)) << slot;
  EXPECT_FALSE(engine.member(3));
}

TEST(Engine, WhoRefersToADeletedSegmentGoesByTheMembershipUntilItEnds) {
  std::vector<ActiveSegment> segments = ActiveFromYaml(kInnerAndOuters);
  Engine engine(*RuleSet::Compile(segments), Settings());
  UserState user;
  Changes changes;
  const auto send = [&](std::string_view name, std::string_view time, int64_t offset) {
    changes.clear();
    engine.apply(
        {.name = name, .time = At(time), .record_time = At("10:30"), .offset = Offset(offset)},
        Time::Min(), user, changes);
  };
  send("K", "10:00", 0);
  send("other", "10:10", 1);
  segments[0].deleting = true;
  engine.use(*RuleSet::Compile(segments));
  engine.take_over(user);
  // In order and late, before the user's turn with the deletion comes.
  send("L", "10:20", 2);
  EXPECT_THAT(changes, IsEmpty());
  send("L", "09:50", 3);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].slot, 1u);
  changes.clear();
  send("N", "10:15", 4);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].slot, 3u);
  EXPECT_TRUE(IsMember(user, 0));
  changes.clear();
  EXPECT_TRUE(engine.remove(0, At("10:30"), user, changes));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].reason, segments::v1::SEGMENT_DELETED);
}

// Nor does it come back by what is folded again.
TEST(Engine, AFilterGoesByADeletedSegmentUntilItIsGone) {
  SmallEngine engine(
      "{ id: inner, name: I, past_behavior: { did: { event: K } } }\n---\n"
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner } } "
      "}");
  engine.send({"10:00", "K"});
  EXPECT_THAT(engine.send({"10:10", "A"}), ElementsAre("1: ADD 10:10 TRIGGER by A of 10:10"));
  engine.clock("10:20");
  EXPECT_THAT(engine.erase(0), ElementsAre("REMOVE 10:20 SEGMENT_DELETED"));
  EXPECT_THAT(engine.send({"10:05", "A"}), IsEmpty());
  EXPECT_TRUE(engine.member(1));
}

// Before the user's turn too: earlier triggers were judged by what the segment was then.
TEST(Engine, ALateEventWhileASegmentIsDeletedLeavesEarlierTriggersAsTheyWere) {
  std::vector<ActiveSegment> segments = ActiveFromYaml(
      "{ id: inner, name: I, past_behavior: { did: { event: K, within_last: 5m } } }\n---\n"
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner }, "
      "exit: { on: [ { event: X } ] } } }");
  Engine engine(*RuleSet::Compile(segments), Settings());
  UserState user;
  Changes changes;
  Offset offset;
  const auto send = [&](const char* name, const char* time) {
    changes.clear();
    engine.apply({.name = name, .time = At(time), .record_time = At("10:12"), .offset = offset},
                 Time::Min(), user, changes);
    offset = offset.next();
  };
  send("A", "10:10");
  send("K", "10:12");
  ASSERT_TRUE(IsMember(user, 0));
  ASSERT_FALSE(IsMember(user, 1));

  segments[0].deleting = true;
  segments[0].changed_offset = offset;
  engine.use(*RuleSet::Compile(segments));
  send("X", "10:09");
  EXPECT_THAT(changes, IsEmpty());
  EXPECT_FALSE(IsMember(user, 1));

  changes.clear();
  EXPECT_TRUE(engine.remove(0, Time::Min(), user, changes));
  EXPECT_EQ(changes.size(), 1u);
  send("X", "10:08");
  EXPECT_THAT(changes, IsEmpty());
  EXPECT_FALSE(IsMember(user, 1));
}

// Whatever was counted of them: what came in since the deletion keeps its order.
TEST(Engine, WhoWasNotInADeletedSegmentIsSettledByTheDeletionAlone) {
  const std::vector<ActiveSegment> segments = ActiveFromYaml(
      "{ id: inner, name: I, past_behavior: { did: { event: K, count: { at_least: 2 } } } }\n---\n"
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { not: { in_segment: "
      "inner } }, exit: { on: [ { event: X } ] } } }");
  for (const char* const first : {"other", "K"}) {
    Engine engine(*RuleSet::Compile(segments), Settings());
    UserState user;
    Changes changes;
    Offset offset;
    const auto send = [&](const char* name, const char* time) {
      changes.clear();
      engine.apply({.name = name, .time = At(time), .record_time = At("10:30"), .offset = offset},
                   Time::Min(), user, changes);
      offset = offset.next();
    };
    send(first, "10:00");
    std::vector<ActiveSegment> deleting = segments;
    deleting[0].deleting = true;
    deleting[0].changed_offset = offset;
    engine.use(*RuleSet::Compile(deleting));
    send("A", "10:20");
    ASSERT_TRUE(IsMember(user, 1));
    changes.clear();
    engine.remove(0, At("10:30"), user, changes);
    EXPECT_THAT(changes, IsEmpty());
    send("X", "10:15");
    EXPECT_THAT(changes, IsEmpty()) << first;
    EXPECT_TRUE(IsMember(user, 1)) << first;
  }
}

// A live segment that waits for the user's turn, in slot 1, filters by past behaviour in slot 0.
// Where there are others they are defined meanwhile, and must mean nothing to it.
class Waiting : public testing::TestWithParam<bool> {
 protected:
  static constexpr const char* kBought =
      "{ id: inner, name: I, past_behavior: { did: { event: B } } }";
  static constexpr const char* kByInner =
      "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner } } }";

  bool others() const { return GetParam(); }

  // With the next record, as a task does for a user whom nothing leads to otherwise.
  void define(Slot slot, std::string_view yaml, std::string_view clock, bool built = true) {
    clock_ = At(clock);
    if (user_.next_deadline <= clock_) engine_.advance(clock_, user_, changes_);
    const auto same = [&](const ActiveSegment& segment) { return segment.slot == slot; };
    auto it = std::find_if(segments_.begin(), segments_.end(), same);
    if (it == segments_.end()) it = segments_.insert(it, ActiveSegment());
    const int64_t version = it->segment.version();
    it->slot = slot;
    it->segment = FromYaml(yaml);
    it->segment.set_version(version + 1);
    it->activation_offset = it->history_offset = it->changed_offset = offset_;
    it->activation_clock = it->changed_clock = clock_;
    it->change_number = ++change_number_;
    it->built = built;
    engine_.use(*RuleSet::Compile(segments_));
  }
  void pause(Slot slot, std::string_view clock) {
    clock_ = At(clock);
    segments_[slot].paused = true;
    segments_[slot].changed_offset = offset_;
    segments_[slot].changed_clock = clock_;
    segments_[slot].change_number = ++change_number_;
    engine_.use(*RuleSet::Compile(segments_));
  }
  void define_others(std::string_view clock) {
    if (!others()) return;
    define(2, "{ id: p, name: P, past_behavior: { did: { event: Z } } }", clock);
    define(3,
           "{ name: O, live: { actions: { any_of: [ { event: Q } ] }, filter: { in_segment: p } } "
           "}",
           clock);
  }
  void restart() {
    engine_ = Engine(*RuleSet::Compile(segments_), settings_);
    user_.rules_generation = 0;
    engine_.take_over(user_);
  }
  void send(std::string_view name, std::string_view time,
            absl::Span<const ProfileCommand> profile = {}) {
    engine_.apply({.name = name,
                   .time = At(time),
                   .record_time = std::max(clock_ + settings_.deadline_grace, At(time)),
                   .offset = offset_,
                   .profile = profile},
                  clock_, user_, changes_);
    offset_ = offset_.next();
  }
  // What is told of the segment at the user's turn with these.
  std::vector<std::string> turn(std::string_view clock, const std::vector<Slot>& slots = {1}) {
    clock_ = At(clock);
    changes_.clear();
    for (Slot slot : slots) {
      EXPECT_TRUE(engine_.build(slot, clock_, nullptr, segments::v1::BACKFILLED, user_, changes_));
    }
    engine_.end_turn(slots, user_);
    std::vector<std::string> told;
    for (const Change& change : changes_) {
      if (change.slot != 1) continue;
      told.push_back(absl::StrCat(segments::v1::Action_Name(change.action), " ",
                                  FormatTimestamp(change.at).substr(11, 8)));
    }
    return told;
  }

  Settings settings_;
  std::vector<ActiveSegment> segments_;
  Engine engine_{*RuleSet::Compile({}), settings_};
  UserState user_;
  Changes changes_;
  Offset offset_;
  uint64_t change_number_ = 0;
  Time clock_ = Time::Min();
};
INSTANTIATE_TEST_SUITE_P(, Waiting, testing::Bool(), [](const auto& each) {
  return std::string(each.param ? "AmongOthers" : "Alone");
});

TEST_P(Waiting, IsJudgedByWhatPastBehaviorWasAtTheActivation) {
  define(0, kBought, "08:00");
  send("X", "09:00");
  define(1, kByInner, "10:00", /*built=*/false);
  send("A", "09:59:30");
  send("B", "10:10");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), IsEmpty());
}

// For nothing was known of them, nothing was settled.
TEST_P(Waiting, IsJudgedByThePastAsItWasForAUserWhoCameSince) {
  define(0, kBought, "08:00");
  offset_ = Offset(5);
  define(1, kByInner, "10:00", /*built=*/false);
  send("A", "09:59:20");
  send("B", "09:59:30");
  send("A", "09:59:40");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), ElementsAre("ADD 09:59:40"));
}

// Though their last event was before the activation: what is older than it is late.
TEST_P(Waiting, IsJudgedAsOfTheActivationForAUserWhoSlept) {
  define(0, kBought, "08:00");
  send("X", "09:00");
  define(1, kByInner, "10:00", /*built=*/false);
  // Is the user's first now.
  send("X", "08:50");
  send("B", "09:59:30");
  send("A", "09:59:40");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), IsEmpty());
}

// A user's newest event may be ahead of the clock.
TEST_P(Waiting, IsJudgedAsOfTheUsersNow) {
  define(0, kBought, "08:00");
  send("B", "10:00:30");
  define(1, kByInner, "10:00", /*built=*/false);
  send("X", "10:00:40");
  send("A", "10:00:20");
  restart();
  define_others("10:15");
  send("X", "10:20");
  restart();
  EXPECT_THAT(turn("10:30"), ElementsAre("ADD 10:00:20"));
}

TEST_P(Waiting, IsJudgedAsOfTheUsersNowWhateverTheEventWas) {
  define(0, "{ id: inner, name: I, past_behavior: { did_not: { event: B, within_last: 5m } } }",
         "08:00");
  send("B", "09:55:20");
  send("X", "10:00:30");
  define(1, kByInner, "10:00", /*built=*/false);
  send("A", "10:00:10");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), ElementsAre("ADD 10:00:10"));
}

// What came in before it is over.
TEST_P(Waiting, IsJudgedAsOfAnEditOfWhatItFiltersBy) {
  define(0, kBought, "08:00");
  send("X", "09:00");
  define(1, kByInner, "10:00", /*built=*/false);
  send("B", "10:05");
  send("A", "10:06");
  send("X", "10:07");
  define(0, "{ id: inner, name: I, past_behavior: { did: { event: C } } }", "10:10");
  send("C", "10:08");
  send("A", "10:09");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), IsEmpty());
}

TEST_P(Waiting, IsJudgedAsOfTheLaterOfTwoActivationsBetweenRecords) {
  define(0, kBought, "08:00");
  send("X", "09:00");
  define(1, kByInner, "10:00", /*built=*/false);
  engine_.take_over(user_);
  define(0, "{ id: inner, name: I, past_behavior: { did: { event: C } } }", "10:10");
  send("C", "10:08");
  send("A", "10:09");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30"), IsEmpty());
}

// And has been counting since before.
TEST_P(Waiting, IsJudgedByPastBehaviorThatIsBuiltWithIt) {
  define(4, "{ name: other, past_behavior: { did: { event: B } } }", "08:00");
  send("X", "09:00");
  define(0, kBought, "10:00", /*built=*/false);
  send("B", "10:05");
  send("X", "10:09");
  define(1, kByInner, "10:10", /*built=*/false);
  send("A", "10:07");
  define_others("10:15");
  send("X", "10:20");
  EXPECT_THAT(turn("10:30", {0, 1}), ElementsAre("ADD 10:07:00"));
}

TEST_P(Waiting, ADateThatIsOverDoesNotFire) {
  for (const bool moved_on : {false, true}) {
    SCOPED_TRACE(moved_on);
    settings_.max_lateness = Duration::Minutes(10);
    segments_.clear();
    engine_ = Engine(*RuleSet::Compile({}), settings_);
    user_ = UserState();
    define(0, kBought, "08:00");
    define(5, "{ name: C, live: { actions: { any_of: [ { event: C } ], repeat: true } } }",
           "08:00");
    const ProfileCommand date = {kSet, "when", Value::String("2026-11-22T10:30:00Z")};
    send("X", "09:00", {&date, 1});
    if (moved_on) {
      for (int i = 0; i < 60; ++i) send("C", absl::StrFormat("09:%02d", i));
    }
    define(1,
           "{ name: S, live: { date_time: { property: when }, filter: { not: { in_segment: inner } "
           "} } }",
           "10:00", /*built=*/false);
    send("X", "10:05");
    ASSERT_EQ(user_.base_time() > At("09:00"), moved_on);
    define(0, "{ id: inner, name: J, past_behavior: { did: { event: B } } }", "11:00");
    send("X", "11:05");
    define_others("11:15");
    send("X", "11:20");
    EXPECT_THAT(turn("11:30"), IsEmpty());
  }
}

// One that is still to come does, whoever is settled for what.
TEST_P(Waiting, ADateFires) {
  define(0, kBought, "08:00");
  const ProfileCommand date = {kSet, "when", Value::String("2026-11-22T10:30:00Z")};
  send("B", "09:00", {&date, 1});
  define(1, "{ name: S, live: { date_time: { property: when }, filter: { in_segment: inner } } }",
         "10:00", /*built=*/false);
  send("X", "10:05");
  define_others("11:15");
  send("X", "11:20");
  EXPECT_THAT(turn("11:30"), ElementsAre("ADD 10:30:00"));
}

TEST_P(Waiting, FindsWhatIsPausedMeanwhileAsItIs) {
  for (const bool live : {false, true}) {
    SCOPED_TRACE(live ? "live" : "past behaviour");
    segments_.clear();
    engine_ = Engine(*RuleSet::Compile({}), settings_);
    user_ = UserState();
    define(
        0,
        live ? "{ id: inner, name: I, live: { actions: { any_of: [ { event: B } ] } } }" : kBought,
        "08:00");
    send("B", "09:00");
    define(1, kByInner, "10:00", /*built=*/false);
    pause(0, "10:10");
    send("A", "10:12");
    define_others("10:15");
    send("X", "10:20");
    EXPECT_THAT(turn("10:30"), ElementsAre("ADD 10:12:00"));
  }
}

// What came before the deletion is over, also where nothing is left of the segment at the turn.
TEST_P(Waiting, FindsNothingOfWhatWasDeletedMeanwhile) {
  for (const bool freed : {false, true}) {
    SCOPED_TRACE(freed ? "freed" : "still there");
    segments_.clear();
    engine_ = Engine(*RuleSet::Compile({}), settings_);
    user_ = UserState();
    define(0, kBought, "08:00");
    send("B", "09:00");
    define(1,
           "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { not: { in_segment: "
           "inner } } } }",
           "10:00", /*built=*/false);
    send("A", "10:05");
    clock_ = At("10:10");
    segments_[0].deleting = true;
    segments_[0].changed_offset = offset_;
    segments_[0].changed_clock = clock_;
    segments_[0].change_number = ++change_number_;
    engine_.use(*RuleSet::Compile(segments_));
    engine_.take_over(user_);
    engine_.remove(0, clock_, user_, changes_);
    if (freed) {
      segments_.erase(segments_.begin());
      engine_.use(*RuleSet::Compile(segments_));
      engine_.take_over(user_);
    }
    define_others("10:15");
    send("X", "10:20");
    EXPECT_THAT(turn("10:30"), IsEmpty());
  }
}

// As of when it follows was noted, and is looked for no more.
TEST_P(Waiting, CountsNothingThatNeverWasWhereTheInnerIsPausedMeanwhile) {
  for (const char* kind : {"page_count: { at_least: 2, within: 2h }",
                           "sequence: { steps: [ { event: Page Viewed }, { event: Buy } ] }"}) {
    SCOPED_TRACE(kind);
    segments_.clear();
    engine_ = Engine(*RuleSet::Compile({}), settings_);
    user_ = UserState();
    define(0, kBought, "08:00");
    send("B", "09:00");
    define(1, absl::StrFormat("{ name: S, live: { %s, filter: { in_segment: inner } } }", kind),
           "10:00", /*built=*/false);
    send("X", "10:05");
    pause(0, "10:06");
    send("X", "10:06");
    define_others("10:15");
    EXPECT_THAT(turn("10:30"), IsEmpty());
    send(kPageViewed, "10:31");
    EXPECT_FALSE(IsMember(user_, 1));
    send("Buy", "10:32");
    send(kPageViewed, "10:33");
    EXPECT_TRUE(IsMember(user_, 1));
    EXPECT_EQ(user_.present.segments.find(1)->memory->occurrences.size(),
              std::string_view(kind).starts_with("page") ? 2 : 1);
  }
}

// Not once for each day since the calendar's beginning.
TEST_P(Waiting, TakesNoMoreStepsThanWhatWaits) {
  settings_.max_lateness = Duration::Minutes(10);
  engine_ = Engine(*RuleSet::Compile({}), settings_);
  define(0,
         "{ id: inner, name: I, past_behavior: { did: { event: B, during: today, time_zone: "
         "Europe/Paris } } }",
         "08:00");
  for (int i = 0; i < 60; ++i) send("B", absl::StrFormat("09:%02d", i));
  define(1, kByInner, "10:00", /*built=*/false);
  send("A", "10:05");
  ASSERT_NE(user_.base_time(), Time::Min());
  define_others("10:15");
  send("X", "10:20");
  const int64_t before = engine_.counters().segments_decided;
  EXPECT_THAT(turn("10:30"), ElementsAre("ADD 10:05:00"));
  EXPECT_LT(engine_.counters().segments_decided - before, 100);
}

// Two changes between records; or of data from before changes had numbers, of which a crash has
// left users unsaved.
void CheckSettledForTheLaterOfTwoChangesAtOneOffset(bool numbered) {
  for (const bool between : {false, true}) {
    SCOPED_TRACE(between);
    std::vector<ActiveSegment> segments = ActiveFromYaml(
        "{ id: inner, name: I, live: { inaction: { trigger: { event: B }, does_not_do: "
        "[ { event: C } ], within: 20m } } }\n---\n"
        "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: D } ], "
        "within: 10m }, filter: { all_of: [ { in_segment: inner }, { not: { property: { property: "
        "vip, equals: 1 } } } ] } } }");
    UserState user;
    Changes changes;
    Engine engine(*RuleSet::Compile(segments), Settings());
    Offset offset(1);
    const auto send = [&](const char* name, const char* time, const char* record_time) {
      engine.apply(
          {.name = name, .time = At(time), .record_time = At(record_time), .offset = offset},
          Time::Min(), user, changes);
      offset = offset.next();
    };
    uint64_t change_number = 0;
    const auto edit = [&](const char* clock) {
      engine.advance(At(clock), user, changes);
      segments[0].segment.set_version(segments[0].segment.version() + 1);
      segments[0].segment.set_name(clock);
      segments[0].activation_offset = segments[0].changed_offset = offset;
      segments[0].activation_clock = segments[0].changed_clock = At(clock);
      if (numbered) segments[0].change_number = ++change_number;
      engine.use(*RuleSet::Compile(segments));
    };
    // Inner is joined at 10:20, too late for S at 10:10.
    send("B", "10:00", "10:00");
    send("A", "10:00:10", "10:00:10");
    if (between) {
      // Settles the user, before the next record.
      ActiveSegment other =
          ActiveFromYaml(
              "{ name: O, live: { actions: { any_of: [ { event: Q } ] }, filter: { "
              "not: { in_segment: inner } } } }")
              .at(0);
      other.slot = 2;
      other.activation_offset = other.changed_offset = offset;
      other.activation_clock = other.changed_clock = At("10:01");
      if (numbered) other.change_number = ++change_number;
      engine.advance(At("10:01"), user, changes);
      segments.push_back(other);
      engine.use(*RuleSet::Compile(segments));
      engine.take_over(user);
    }
    engine.advance(At("10:25"), user, changes);
    ASSERT_TRUE(IsMember(user, 0));
    ASSERT_FALSE(IsMember(user, 1));
    edit("10:30");
    changes.clear();
    const ProfileCommand vip = {kSet, "vip", Value::Number(0)};
    engine.apply({.name = {},
                  .time = At("10:00:05"),
                  .record_time = At("10:30"),
                  .offset = offset,
                  .profile = {&vip, 1}},
                 Time::Min(), user, changes);
    EXPECT_FALSE(IsMember(user, 1));
    EXPECT_EQ(changes.size(), 0);
  }
}

TEST(Engine, AUserIsSettledForTheLaterOfTwoChangesAtOneOffset) {
  CheckSettledForTheLaterOfTwoChangesAtOneOffset(true);
}

TEST(Engine, AUserIsSettledForTheLaterOfTwoChangesWithoutNumbersAtOneOffset) {
  CheckSettledForTheLaterOfTwoChangesAtOneOffset(false);
}

// Two that come one after the other between two records, or before a user's newest event: whoever
// was settled for the first, in its turn too, has still to be settled for the second, which follows
// another segment.
TEST(Engine, AUserIsSettledForEachOfTwoChangesThatTheirNowDoesNotTellApart) {
  for (const bool ahead : {false, true}) {
    for (const bool waits : {false, true}) {
      SCOPED_TRACE(testing::Message() << "ahead: " << ahead << ", waits: " << waits);
      std::vector<ActiveSegment> segments = ActiveFromYaml(
          "{ id: inner, name: I, past_behavior: { did_not: { event: C } } }\n---\n"
          "{ id: other, name: O, past_behavior: { did: { event: B } } }\n---\n"
          "{ name: T, live: { actions: { any_of: [ { event: Q } ] }, filter: { in_segment: other } "
          "} }\n---\n"
          "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: inner } "
          "} }");
      for (Slot slot : {2, 3}) {
        segments[slot].activation_offset = segments[slot].changed_offset = Offset(1);
        segments[slot].activation_clock = segments[slot].changed_clock = At("10:00");
        segments[slot].change_number = slot;
      }
      if (ahead) segments[3].activation_clock = segments[3].changed_clock = At("10:00:10");
      segments[2].built = !waits;
      UserState user;
      Changes changes;
      Engine engine(*RuleSet::Compile({segments.begin(), segments.begin() + 2}), Settings());
      engine.apply(
          {.name = "X", .time = At(ahead ? "10:00:30" : "09:00"), .record_time = At("10:00")},
          At("10:00"), user, changes);
      ASSERT_TRUE(IsMember(user, 0));
      engine.use(*RuleSet::Compile({segments.begin(), segments.begin() + 3}));
      engine.take_over(user);
      if (waits) {
        engine.build(2, At("10:00"), nullptr, segments::v1::BACKFILLED, user, changes);
        const Slot slot = 2;
        engine.end_turn({&slot, 1}, user);
      }
      engine.use(*RuleSet::Compile(segments));
      EXPECT_TRUE(engine.take_over(user)) << "to be saved";

      changes.clear();
      Offset offset(1);
      const auto send = [&](const char* name, const char* time) {
        engine.apply(
            {.name = name, .time = At(time), .record_time = At("10:00:20"), .offset = offset},
            At("10:00:15"), user, changes);
        offset = offset.next();
      };
      send("C", "09:40");
      EXPECT_FALSE(IsMember(user, 0));
      ASSERT_EQ(changes.size(), 1u);
      EXPECT_EQ(changes[0].at, At(ahead ? "10:00:30" : "10:00"));
      send("A", "09:50");
      EXPECT_TRUE(IsMember(user, 3));
      // Once: what came in since is judged as before.
      engine.use(*RuleSet::Compile(segments));
      EXPECT_FALSE(engine.take_over(user));
    }
  }
}

// At the user's now, though no deadline and no event of theirs was since: by the clock at an
// activation, and at the pause of another segment that it follows.
TEST(Engine, ASleepingUserIsSettledAsOfTheChange) {
  for (const bool sleeps : {true, false}) {
    for (const bool pauses : {true, false}) {
      SCOPED_TRACE(testing::Message() << "sleeps: " << sleeps << ", pauses: " << pauses);
      std::vector<ActiveSegment> segments = ActiveFromYaml(
          "{ id: inner, name: I, past_behavior: { did: { event: B } } }\n---\n"
          "{ id: also, name: T, past_behavior: { did: { event: C } } }\n---\n"
          "{ name: O, past_behavior: { did: { event: X, within_last: 55m } } }\n---\n"
          "{ name: S, live: { actions: { any_of: [ { event: A } ] }, filter: { any_of: [ { "
          "in_segment: inner }, { in_segment: also } ] } } }");
      segments[2].paused = sleeps;
      UserState user;
      Changes changes;
      Engine engine(*RuleSet::Compile({segments.begin(), segments.end() - (pauses ? 0 : 1)}),
                    Settings());
      engine.apply({.name = "X", .time = At("09:00"), .record_time = At("09:00")}, Time::Min(),
                   user, changes);
      if (user.next_deadline <= At("10:00")) engine.advance(At("10:00"), user, changes);
      ASSERT_EQ(user.now < At("10:00"), sleeps);
      ActiveSegment& changed = segments[pauses ? 1 : 3];
      changed.changed_offset = Offset(1);
      changed.changed_clock = At("10:00");
      if (pauses) {
        changed.paused = true;
      } else {
        changed.activation_offset = Offset(1);
        changed.activation_clock = At("10:00");
      }
      engine.use(*RuleSet::Compile(segments));
      int64_t offset = 1;
      for (const auto& [name, time] : {std::pair("B", "09:59:30"), std::pair("A", "09:59:40")}) {
        engine.apply({.name = name,
                      .time = At(time),
                      .record_time = At("10:00:01"),
                      .offset = Offset(offset++)},
                     At("10:00"), user, changes);
      }
      EXPECT_TRUE(IsMember(user, 0));
      EXPECT_FALSE(IsMember(user, 3));
    }
  }
}

// A paused one stays as it is, for what is folded again too.
TEST(Engine, WhoRefersToAPausedSegmentGoesByItsMembers) {
  std::vector<ActiveSegment> segments = ActiveFromYaml(
      "{ id: inner, name: I, past_behavior: { did: { event: K } } }\n---\n"
      "{ id: outer, name: O, past_behavior: { any_of: [ { in_segment: inner }, { in_segment: also "
      "} ] } }\n---\n"
      "{ id: also, name: T, past_behavior: { did: { event: L, count: { at_least: 5 } } } }");
  Engine engine(*RuleSet::Compile(segments), Settings());
  UserState user;
  Changes changes;
  engine.apply({.name = "K", .time = At("10:00"), .record_time = At("10:00")}, Time::Min(), user,
               changes);
  ASSERT_TRUE(IsMember(user, 1));
  segments[0].paused = true;
  segments[0].changed_offset = Offset(1);
  engine.use(*RuleSet::Compile(segments));
  engine.take_over(user);
  changes.clear();
  engine.apply({.name = "L", .time = At("09:00"), .record_time = At("10:00"), .offset = Offset(1)},
               Time::Min(), user, changes);
  EXPECT_THAT(changes, IsEmpty());
  EXPECT_TRUE(IsMember(user, 1));
}

// -- Past behaviour -------------------------------------------------------------------------------

constexpr const char* kTwiceInAnHour =
    "{ name: S, past_behavior: { did: { event: A, within_last: 1h, count: { at_least: 2 } } } }";

TEST(Engine, AnEventAheadOfWhatCameTooLateIsInOrder) {
  SmallEngine engine(R"(
name: Twice
past_behavior: { did: { event: A, within_last: 1d, count: { at_least: 2 } } }
---
name: Once, lately
past_behavior: { did: { event: A, within_last: 5m } }
)");
  engine.send({"10:00", "A"});
  // Counts from 10:20 on, which the clock has not reached.
  EXPECT_THAT(engine.send({.time = "07:00", .name = "A", .record_time = "10:20"}),
              ElementsAre("1: REMOVE 10:05 WINDOW_SLID"));
  EXPECT_EQ(engine.outcome(), Outcome::kTooLate);
  EXPECT_EQ(engine.user().next_deadline, At("10:20"));
  // At 10:20:30 something that lies ahead counts first, with its own cause.
  EXPECT_THAT(engine.send({"10:20:30", "A", {}, {}, "m"}),
              ElementsAre("ADD 10:20 CONDITION_MET by A of 07:00",
                          "1: ADD 10:20:30 CONDITION_MET by A of 10:20:30 id m"));
  EXPECT_EQ(engine.outcome(), Outcome::kApplied);
}

TEST(Engine, CountsOutliveTheFactsTheyCameFrom) {
  SmallEngine engine(
      "{ name: S, past_behavior: { did: { event: A, within_last: 20h, count: { at_least: 40 } } } "
      "}");
  for (int i = 0; i < 40; ++i) {
    const auto told =
        engine.send({absl::StrCat(i / 4 < 10 ? "0" : "", i / 4, ":", i % 4, "0"), "A"});
    EXPECT_EQ(told.size(), i == 39 ? 1u : 0u) << i;
  }
  EXPECT_LT(engine.user().facts.size(), 40u) << "the base has moved on";
  EXPECT_THAT(engine.clock("19:59:59.999"), IsEmpty());
  EXPECT_THAT(engine.clock("20:00"), ElementsAre("REMOVE 20:00 WINDOW_SLID"));
}

TEST(Engine, ALateEventFindsTheWindowAsItWas) {
  SmallEngine engine(kTwiceInAnHour);
  engine.send({"10:00", "A"});
  engine.send({"11:10", "A"});
  // With 10:30 the user was in from 10:30 to 11:00 and is again since 11:10.
  EXPECT_THAT(engine.send({.time = "10:30", .name = "A", .record_time = "11:11"}),
              ElementsAre("ADD 11:10 LATE_EVENT by A of 10:30"));
  EXPECT_THAT(engine.clock("11:30"), ElementsAre("REMOVE 11:30 WINDOW_SLID"));
}

TEST(Engine, AUserBeginsInSegmentsThatAskForNothing) {
  SmallEngine engine(R"(
name: Nothing done
past_behavior: { did_not: { event: A } }
---
name: Refers to it
past_behavior: { not: { in_segment: "nobody" } }
)");
  EXPECT_EQ(engine.user().present.exists, false);
  EXPECT_THAT(engine.clock("10:00"), IsEmpty());
  EXPECT_THAT(engine.send({"10:01", ""}),
              ElementsAre("ADD 10:01 CONDITION_MET", "1: ADD 10:01 CONDITION_MET"));
}

TEST(Engine, AnInnerMemberWhoQualifiesAgainIsNoNews) {
  SmallEngine engine(R"(
id: buyers
name: Buys
live: { actions: { any_of: [ { event: A } ], repeat: true } }
---
id: buyers-here
name: Buys in Pune
past_behavior: { all_of: [ { in_segment: buyers }, { property: { property: city, equals: Pune } } ] }
)");
  engine.send({"10:00", "A", {}, {Set("city", "Pune")}});
  EXPECT_THAT(engine.send({"10:01", "A", {}, {Set("city", "Delhi")}}),
              ElementsAre("QUALIFIED 10:01 TRIGGER by A of 10:01",
                          "1: REMOVE 10:01 PROFILE_CHANGED by A of 10:01"));
}

// -- Late events across an edit of a segment that others refer to ---------------------------------

constexpr const char* kBuyersInTheCity = R"(
id: city
name: In the city
past_behavior: { property: { property: city, equals: Pune } }
---
id: buyers
name: Bought in the city
live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: city } }
)";
constexpr const char* kInDelhi = R"(
id: city
name: In the city
past_behavior: { property: { property: city, equals: Delhi } }
)";

TEST(Engine, WhoQualifiedByAnEarlierVersionOfAnInnerSegmentStays) {
  SmallEngine engine(kBuyersInTheCity);
  engine.send({"10:00", "", {}, {Set("city", "Pune")}});
  engine.send({"10:10", "A"});
  EXPECT_THAT(engine.define(0, kInDelhi), ElementsAre("REMOVE 10:10 DEFINITION_CHANGED"));
  EXPECT_THAT(engine.send({.time = "10:05", .name = "A", .record_time = "10:20"}), IsEmpty());
  EXPECT_TRUE(engine.member(1));
}

TEST(Engine, ALateEventFindsAnInnerSegmentAsItWasAtTheEdit) {
  SmallEngine engine(kBuyersInTheCity);
  engine.send({"10:00", "", {}, {Set("city", "Pune")}});
  engine.send({"10:10", "", {}, {Set("city", "Delhi")}});
  engine.send({"10:11", "A"});
  EXPECT_FALSE(engine.member(1));
  EXPECT_THAT(engine.define(0, kInDelhi), ElementsAre("ADD 10:11 DEFINITION_CHANGED"));
  // The one of 10:11 came before the edit: that one the version before has judged.
  EXPECT_THAT(engine.send({.time = "10:05", .name = "B", .record_time = "10:20"}), IsEmpty());
  EXPECT_THAT(engine.send({.time = "10:05", .name = "A", .record_time = "10:20"}),
              ElementsAre("1: ADD 10:05 LATE_EVENT by A of 10:05"));
}

TEST(Engine, AMemberForGoodStaysWhenOthersBeginToRefer) {
  SmallEngine engine("{ id: shop, name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:10", "B"});
  engine.define(1, R"(
name: Refers
past_behavior: { all_of: [ { in_segment: shop }, { did: { event: B } } ] }
)");
  EXPECT_THAT(engine.send({.time = "10:05", .name = "B", .record_time = "10:20"}), IsEmpty());
  EXPECT_TRUE(engine.member(0));
  EXPECT_TRUE(engine.member(1));
}

// Whatever a condition asks for, what came after the trigger is no part of its past.
TEST(Engine, ALateTriggerIsJudgedByTheHistoryBeforeIt) {
  struct Case {
    std::string did;
    // Of the triggers sent below, those that qualify.
    std::vector<std::string> qualifies;
  };
  const std::vector<Case> cases = {
      {"count: { at_least: 2 }", {"10:10", "10:35"}},
      {"count: { equals: 1 }", {"09:30"}},
      {"within_last: 40m", {"09:30", "10:10", "10:35"}},
      {"within_last: 25m", {"10:10", "10:35"}},
      {"within_last: 2h, count: { equals: 2 }", {"10:10"}},
      {"within_last: 2h, sum: { property: n, less_than: 5 }", {"09:30"}},
      {"during: today, count: { at_most: 2 }", {"09:30", "10:10"}},
      {"during: today, average: { property: n, at_most: 2 }", {"09:30"}},
      {"during: yesterday", {}},
      {"between: { from: 2026-11-22T10:00:00Z, to: 2026-11-23 }", {"10:10", "10:35"}},
      {"first_time: true, within_last: 1h", {"09:30"}},
  };
  for (const Case& c : cases) {
    for (const std::string at : {"08:55", "09:30", "10:10", "10:35"}) {
      SCOPED_TRACE(absl::StrCat(c.did, " at ", at));
      SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: C } ] } } }");
      for (const auto& [time, n] : {std::pair("09:00", 2), {"10:00", 3}, {"10:30", 9}}) {
        engine.send({time, "A", {{"n", static_cast<double>(n)}}});
      }
      engine.define(1, absl::StrCat("{ name: L, live: { actions: { any_of: [ { event: B } ] }, ",
                                    "filter: { did: { event: A, ", c.did, " } } } }"));
      // Others of the past come late as well, and make the base move.
      engine.send({.time = "09:05", .name = "X", .record_time = "10:40"});
      const bool told = !engine.send({.time = at, .name = "B", .record_time = "10:40"}).empty();
      EXPECT_EQ(told, absl::c_linear_search(c.qualifies, at));
    }
  }
}

// A deadline comes before the events of its moment, also before those of a history.
TEST(Engine, ADeadlineBeforeTheActivationPrecedesTheHistoryOfItsMoment) {
  for (const std::string filter : {"did: { event: A }", "did_not: { event: A }"}) {
    SCOPED_TRACE(filter);
    SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: C } ] } } }");
    engine.send({"10:00", "A"});
    engine.send({"10:30", "X"});
    engine.define(1, absl::StrCat("{ name: L, live: { inaction: { trigger: { event: B }, "
                                  "does_not_do: [ { event: D } ], within: 10m }, filter: { ",
                                  filter, " } } }"));
    engine.send({.time = "09:50", .name = "B", .record_time = "10:40"});
    EXPECT_EQ(engine.member(1), filter.starts_with("did_not"));
  }
}

TEST(Engine, AHistoryIsKeptApartAsLongAsALateTriggerMayPrecedeIt) {
  SmallEngine engine(
      "{ name: S, live: { actions: { any_of: [ { event: C } ] }, exit: { on: [ { event: X } ] } } "
      "}",
      {.max_lateness = Duration::Minutes(10)});
  engine.send({"10:00", "A"});
  engine.define(1,
                "{ name: L, live: { actions: { any_of: [ { event: B } ] }, "
                "filter: { did: { event: A } } } }");
  const auto ahead = [](const FoldState& state) {
    return state.segments.find(1)->memory->ahead->size();
  };
  EXPECT_EQ(ahead(*engine.user().base), 1u);
  // Nothing of this is for that segment, but the base moves on.
  for (int i = 10; i < 50; ++i) engine.send({absl::StrCat("10:05:", i), "X"});
  engine.send({"10:20", "X"});
  ASSERT_LT(engine.user().facts.size(), 20u);
  EXPECT_EQ(ahead(*engine.user().base), 0u);
  EXPECT_EQ(ahead(engine.user().present), 0u);
  EXPECT_THAT(engine.send({"10:21", "B"}), ElementsAre("1: ADD 10:21 TRIGGER by B of 10:21"));
}

// One user's records, with late and too late ones and duplicates among them.
struct Sent {
  std::string name;
  Time time;
  Time record_time;
  double amount;
  std::string message_id;
};

std::vector<Sent> AnyRecords(std::mt19937_64& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  constexpr int kGaps[] = {0, 1, 60'000, 600'000, 3'600'000, 20'000'000};
  constexpr int kDelays[] = {0, 0, 0, 1, 500, 600'000, 7'200'000, 7'200'001, 30'000'000};
  Time now = At("00:00");
  std::vector<Sent> out;
  for (int i = 0; i < 60; ++i) {
    now = now + Duration::Millis(kGaps[below(6)]);
    if (!out.empty() && below(6) == 0) {
      // The same once more. (Record times tell apart what is the same record twice from a
      // duplicate.)
      now = now + Duration::Millis(1);
      out.push_back(out[static_cast<size_t>(below(static_cast<int>(out.size())))]);
      out.back().record_time = now;
      continue;
    }
    out.push_back({below(3) == 0 ? "B" : "A", now - Duration::Millis(kDelays[below(9)]), now,
                   static_cast<double>(below(33)) / 8 - 1,
                   below(2) == 0 ? absl::StrCat("m", i) : ""});
  }
  return out;
}

// A message that comes three times, first in the history and again after it, each within
// max_lateness of the one before but not of the first: a stream that did not see the first goes by
// the second. So the third has no ID.
void WithoutChainsAcross(int begin, std::vector<Sent>* records) {
  std::map<std::string, Time> first;
  for (int i = 0; i < begin; ++i) {
    const Sent& sent = (*records)[static_cast<size_t>(i)];
    if (!sent.message_id.empty()) first.emplace(sent.message_id, sent.record_time);
  }
  for (size_t i = static_cast<size_t>(begin); i < records->size(); ++i) {
    Sent& sent = (*records)[i];
    const auto it = first.find(sent.message_id);
    if (it == first.end()) continue;
    if (sent.record_time > it->second + Settings().max_lateness) sent.message_id.clear();
  }
}

// A task's engine and one user.
class OneUser {
 public:
  void use(const ActiveSegment& segment) {
    auto rules = RuleSet::Compile({segment}).value();
    if (engine_) {
      engine_->use(std::move(rules));
      engine_->take_over(user);
    } else {
      engine_.emplace(std::move(rules), Settings());
    }
  }
  static Event EventOf(const Sent& sent, int64_t offset, const RuleSet& rules,
                       std::vector<EventProperty>* properties) {
    properties->clear();
    for (FieldIndex field = 0; field < rules.fields().size(); ++field) {
      properties->push_back({field, Value::Number(sent.amount)});
    }
    return {.name = sent.name,
            .time = sent.time,
            .record_time = sent.record_time,
            .offset = Offset(offset),
            .message_id = sent.message_id,
            .properties = *properties,
            .profile = {}};
  }
  Outcome send(const Sent& sent, int64_t offset) {
    std::vector<EventProperty> properties;
    const Event event = EventOf(sent, offset, engine_->rules(), &properties);
    Changes changes;
    const Outcome outcome =
        engine_->apply(event, sent.record_time - Duration::Seconds(1), user, changes);
    take(changes);
    return outcome;
  }
  void build(Time clock, const Past* past) {
    Changes changes;
    EXPECT_TRUE(engine_->build(0, clock, past, segments::v1::BACKFILLED, user, changes));
    take(changes);
    EXPECT_FALSE(engine_->build(0, clock, past, segments::v1::BACKFILLED, user, changes));
  }
  void advance(Time clock) {
    Changes changes;
    engine_->advance(clock, user, changes);
    take(changes);
  }
  bool member() const { return IsMember(user, 0); }

  UserState user;
  // What was told since it was last cleared.
  std::vector<std::string> told;

 private:
  void take(const Changes& changes) {
    for (const Change& change : changes) {
      told.push_back(absl::StrCat(segments::v1::Action_Name(change.action), " ",
                                  FormatTimestamp(change.at), " ",
                                  segments::v1::Reason_Name(change.reason)));
    }
  }

  std::optional<Engine> engine_;
};

// A segment that counts the past and was defined late, and built later still, is as if it had been
// there from the first record on.
RC_GTEST_PROP(Engine, WhatIsBuiltIsAsIfItHadAlwaysBeenThere, (uint64_t seed)) {
  static const char* const kRules[] = {
      "did: { event: A, within_last: 1h, count: { at_least: 3 } }",
      "did: { event: A, within_last: 6h, sum: { property: amount, greater_than: 3 } }",
      "did: { event: A, within_last: 12h, average: { property: amount, at_most: 1 }, "
      "include_users_who_did_not: true }",
      "did: { event: A, during: today, time_zone: Asia/Kolkata, count: { at_least: 4 } }",
      "did: { event: A, during: yesterday, count: { less_than: 5 } }",
      "did: { event: A, first_time: true, within_last: 1d }",
      "did: { event: B, count: { equals: 6 } }",
      "any_of: [ { did_not: { event: A, within_last: 2h } }, { did: { event: B, within_last: 30m } "
      "} ]",
      "did: { event: A, between: { from: 2026-11-22T06:00, to: 2026-11-23 }, sum: { property: "
      "amount, at_least: 2 } }"};
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 10; ++round) {
    const std::string yaml =
        absl::StrCat("{ id: s, name: S, past_behavior: { ", kRules[below(9)], " } }");
    std::vector<Sent> records = AnyRecords(random);
    const int defined = below(50);
    WithoutChainsAcross(defined, &records);
    const int built = defined + below(10);
    Time since = Time::Min();

    const ActiveSegment active = ActiveFromYaml(yaml).at(0);
    OneUser always;
    always.use(active);
    History history(RuleSet::Compile({active}).value(), Settings());
    OneUser later;
    ActiveSegment paused = active;
    paused.paused = true;
    later.use(paused);

    ActiveSegment building = active;
    building.built = false;
    building.activation_offset = building.history_offset = Offset(defined);
    for (int i = 0; i < static_cast<int>(records.size()); ++i) {
      const Sent& sent = records[static_cast<size_t>(i)];
      if (i == defined) later.use(building);
      if (i < defined) {
        std::vector<EventProperty> properties;
        history.add("u", OneUser::EventOf(sent, i, *history.rules(), &properties));
      }
      if (i == built) {
        history.finish();
        Past past;
        const bool any = history.take("u", 0, later.user.seen, &past);
        // From there on, what came too late last counts as well.
        const Time clock = i == 0 ? Time::Min() : records[static_cast<size_t>(i) - 1].record_time;
        since = clock;
        always.advance(clock);
        later.told.clear();
        later.build(clock, any ? &past : nullptr);
        if (later.told.size() != (always.member() ? 1 : 0)) {
          RC_FAIL(absl::StrCat(yaml, ", defined at ", defined, ", at its building at ", built));
        }
        ActiveSegment done = building;
        done.built = true;
        later.use(done);
      }
      always.told.clear();
      later.told.clear();
      const Outcome outcome = always.send(sent, i);
      later.send(sent, i);
      if (i < built) continue;
      if (always.member() != later.member()) {
        RC_FAIL(absl::StrCat(yaml, " after record ", i, ", defined at ", defined, ", built at ",
                             built));
      }
      // Of moments before its building a segment has no more than the history needs at its end.
      if (outcome == Outcome::kApplied && sent.time >= since && always.told != later.told) {
        RC_FAIL(absl::StrCat(yaml, " told at record ", i, ", defined at ", defined, ", built at ",
                             built, ": ", absl::StrJoin(always.told, "; "), " but ",
                             absl::StrJoin(later.told, "; ")));
      }
    }
  }
}

}  // namespace
}  // namespace segmentd
