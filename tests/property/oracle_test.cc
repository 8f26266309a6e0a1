// The oracle on histories written by hand: each line of the specification as it stands there.

#include "tests/property/oracle.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/definition_text.h"
#include "tests/property/playback.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;
using testing::ElementsAre;
using testing::IsEmpty;

Time At(const std::string& text) {
  Time time;
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

// One user and their segments, s0, s1 and so on, whose definitions are written without a name.
class Life {
 public:
  explicit Life(const std::vector<std::string>& definitions) : oracle_(Settings(), 1) {
    for (const std::string& definition : definitions) define(next_++, definition);
  }

  void define(Slot slot, const std::string& definition) {
    const auto documents =
        ReadSegmentDocuments(absl::StrCat("id: s", slot, "\nname: S\n", definition));
    ASSERT_TRUE(documents.ok()) << documents.status();
    ASSERT_EQ(documents->size(), 1u);
    ASSERT_THAT((*documents)[0].violations, IsEmpty()) << (*documents)[0].violations[0].message;
    const Offset offset = offset_ = offset_.next();
    oracle_.define(slot, (*documents)[0].segment, offset, clock_);
    keep(oracle_.take_turn(0, slot, offset, clock_));
  }

  void erase(Slot slot) {
    offset_ = offset_.next();
    oracle_.erase(slot, offset_);
  }
  // The user's turn with the deletion.
  void leave(Slot slot) { keep(oracle_.leave(0, slot, offset_, clock_)); }

  // With a record time of its own, the event may be late.
  Outcome does(const std::string& event, const std::string& time,
               std::map<std::string, Datum> properties = {}, std::vector<Command> profile = {},
               const std::string& record_time = "") {
    Record record;
    record.name = event;
    record.time = At(time);
    record.record_time = At(record_time.empty() ? time : record_time);
    record.properties = std::move(properties);
    record.profile = std::move(profile);
    offset_ = offset_.next();
    const auto verdict = oracle_.apply(record, offset_, clock_);
    keep(verdict.told);
    return verdict.outcome;
  }
  void sets(const std::string& property, const Datum& value, const std::string& time) {
    does("Set", time, {}, {{ProfileOperation::kSet, property, value}});
  }

  void wait(const std::string& time) {
    clock_ = At(time);
    keep(oracle_.advance(0, clock_));
  }
  bool in(Slot slot = 0) const { return oracle_.member(0, slot); }
  bool in_at(const std::string& time, Slot slot = 0) {
    wait(time);
    return in(slot);
  }

  // All that was told since the last call, as text.
  std::vector<std::string> told() { return std::exchange(told_, {}); }

 private:
  void keep(const std::vector<Told>& told) {
    for (const Told& one : told) told_.push_back(Describe(one));
  }

  Oracle oracle_;
  Slot next_ = 0;
  Offset offset_;
  Time clock_ = Time::Min();
  std::vector<std::string> told_;
};

TEST(Did, CountsWithinTheLastToTheMillisecond) {
  Life life({"past_behavior: { did: { event: A, within_last: 1h } }"});
  life.does("A", "2026-03-01T10:00:00");
  EXPECT_TRUE(life.in());
  EXPECT_TRUE(life.in_at("2026-03-01T10:59:59.999"));
  EXPECT_FALSE(life.in_at("2026-03-01T11:00:00"));
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T10:00:00.000 CONDITION_MET by A of "
                                       "03-01T10:00:00.000",
                                       "slot 0 REMOVE at 03-01T11:00:00.000 WINDOW_SLID"));
}

TEST(Did, IsNoneWithoutAnEventEvenWhereNoneIsFewer) {
  Life life({"past_behavior: { did: { event: A, count: { less_than: 2 } } }",
             "past_behavior: { did: { event: A, count: { less_than: 2 }, "
             "include_users_who_did_not: true } }"});
  EXPECT_FALSE(life.in(1)) << "a user who does not exist";
  life.does("B", "2026-03-01T10:00");
  EXPECT_FALSE(life.in(0));
  EXPECT_TRUE(life.in(1));
  life.does("A", "2026-03-01T11:00");
  EXPECT_TRUE(life.in(0));
  life.does("A", "2026-03-01T11:00");
  EXPECT_FALSE(life.in(0));
  EXPECT_FALSE(life.in(1));
}

TEST(Did, WithoutAMeasureIsAtLeastOnceWhoeverIsIncluded) {
  Life life({"past_behavior: { did: { event: A, include_users_who_did_not: true } }"});
  life.does("B", "2026-03-01T10:00");
  EXPECT_FALSE(life.in());
}

TEST(Did, AMissingValueAndOneThatIsNoNumberIsNought) {
  Life life({"past_behavior: { did: { event: A, average: { property: n, equals: 1 } } }",
             "past_behavior: { did: { event: A, sum: { property: n, equals: 3 } } }"});
  life.does("A", "2026-03-01T10:00", {{"n", 3.0}});
  EXPECT_FALSE(life.in(0));
  EXPECT_TRUE(life.in(1));
  life.does("A", "2026-03-01T10:01");
  life.does("A", "2026-03-01T10:02", {{"n", std::string("7")}});
  EXPECT_TRUE(life.in(0));
  EXPECT_TRUE(life.in(1));
}

TEST(Did, OfNothingTheSumAndTheAverageAreNoughtForWhoeverIsIncluded) {
  Life life(
      {"past_behavior: { did: { event: A, average: { property: n, less_than: 1 }, "
       "sum: { property: n, at_most: 0 }, include_users_who_did_not: true } }"});
  life.does("B", "2026-03-01T10:00");
  EXPECT_TRUE(life.in());
}

TEST(Did, AllOperatorsAndAllMeasuresMustHold) {
  Life life(
      {"past_behavior: { did: { event: A, count: { at_least: 2, at_most: 2 }, "
       "sum: { property: n, greater_than: 4 } } }"});
  life.does("A", "2026-03-01T10:00", {{"n", 2.0}});
  life.does("A", "2026-03-01T10:01", {{"n", 2.0}});
  EXPECT_FALSE(life.in());
  Life other(
      {"past_behavior: { did: { event: A, count: { at_least: 2, at_most: 2 }, "
       "sum: { property: n, greater_than: 4 } } }"});
  other.does("A", "2026-03-01T10:00", {{"n", 2.0}});
  other.does("A", "2026-03-01T10:01", {{"n", 2.5}});
  EXPECT_TRUE(other.in());
  other.does("A", "2026-03-01T10:02", {{"n", 2.0}});
  EXPECT_FALSE(other.in());
}

TEST(Did, BetweenIsHalfOpenAndLocal) {
  // New York is four hours behind.
  Life life(
      {"past_behavior: { did: { event: A, between: { from: 2026-04-01, to: 2026-04-02 }, "
       "time_zone: America/New_York, count: { equals: 1 } } }"});
  life.does("A", "2026-04-01T03:59:59.999");
  EXPECT_FALSE(life.in());
  life.does("A", "2026-04-01T04:00");
  EXPECT_TRUE(life.in());
  life.does("A", "2026-04-02T04:00");
  EXPECT_TRUE(life.in());
}

TEST(Did, BetweenALocalTimeThatIsSkippedAndOneThatIsRepeated) {
  // Berlin skips 02:00 to 03:00 at 01:00Z, and repeats it from 00:00Z.
  Life skipped(
      {"past_behavior: { did: { event: A, between: { from: 2026-03-29T02:30, "
       "to: 2026-03-30 }, time_zone: Europe/Berlin } }"});
  skipped.does("A", "2026-03-29T00:59:59.999");
  EXPECT_FALSE(skipped.in());
  skipped.does("A", "2026-03-29T01:00");
  EXPECT_TRUE(skipped.in());
  Life repeated(
      {"past_behavior: { did: { event: A, between: { from: 2026-10-25T02:30, "
       "to: 2026-10-26 }, time_zone: Europe/Berlin } }"});
  repeated.does("A", "2026-10-25T00:29:59.999");
  EXPECT_FALSE(repeated.in());
  repeated.does("A", "2026-10-25T00:30");
  EXPECT_TRUE(repeated.in());
}

TEST(Did, FirstTimeAsksForTheFirstOfAll) {
  const std::string definition =
      "past_behavior: { did: { event: A, first_time: true, within_last: 1h, "
      "include_users_who_did_not: true } }";
  Life life({definition});
  life.does("B", "2026-03-01T09:00");
  EXPECT_FALSE(life.in()) << "whoever is included";
  life.does("A", "2026-03-01T10:00");
  EXPECT_TRUE(life.in());
  life.does("A", "2026-03-01T10:30");
  EXPECT_FALSE(life.in_at("2026-03-01T11:00")) << "the second is within the last hour";
}

TEST(During, TodayHas23HoursWhenClocksGoForward) {
  Life life({"past_behavior: { did: { event: A, during: today, time_zone: Europe/Berlin } }"});
  life.does("A", "2026-03-28T22:59:59.999");
  EXPECT_FALSE(life.in_at("2026-03-28T23:00"));
  life.does("A", "2026-03-28T23:00");
  EXPECT_TRUE(life.in_at("2026-03-29T21:59:59.999"));
  EXPECT_FALSE(life.in_at("2026-03-29T22:00"));
}

TEST(During, YesterdayHas25HoursWhenClocksWentBack) {
  Life life(
      {"past_behavior: { did: { event: A, during: yesterday, time_zone: Europe/Berlin, "
       "count: { equals: 2 } } }"});
  life.does("A", "2026-10-24T22:00");
  life.does("A", "2026-10-25T22:59:59.999");
  life.does("A", "2026-10-25T23:00");
  EXPECT_TRUE(life.in());
  EXPECT_TRUE(life.in_at("2026-10-26T22:59:59.999"));
  EXPECT_FALSE(life.in_at("2026-10-26T23:00"));
}

TEST(During, ADayWhoseMidnightIsSkippedBeginsWithItsFirstMoment) {
  // Cairo goes from 24:00 on 23 April to 01:00, at 22:00Z.
  Life life({"past_behavior: { did: { event: A, during: today, time_zone: Africa/Cairo } }"});
  life.does("A", "2026-04-23T21:59:59.999");
  EXPECT_FALSE(life.in_at("2026-04-23T22:00"));
  life.does("A", "2026-04-23T22:00");
  EXPECT_TRUE(life.in_at("2026-04-24T20:59:59.999"));
  EXPECT_FALSE(life.in_at("2026-04-24T21:00"));
}

TEST(During, ADayWhoseMidnightIsRepeatedBeginsWithTheFirst) {
  // The Azores go from 01:00 back to 00:00 on 25 October, at 01:00Z.
  Life life({"past_behavior: { did: { event: A, during: today, time_zone: Atlantic/Azores } }"});
  life.does("A", "2026-10-24T23:59:59.999");
  EXPECT_FALSE(life.in_at("2026-10-25T00:00"));
  life.does("A", "2026-10-25T00:00");
  EXPECT_TRUE(life.in_at("2026-10-26T00:59:59.999"));
  EXPECT_FALSE(life.in_at("2026-10-26T01:00"));
}

TEST(During, WeeksBeginWhereToldAndMonthsAndYearsWithTheirFirstDay) {
  Life life({"past_behavior: { did: { event: A, during: this_week } }",
             "past_behavior: { did: { event: A, during: this_week, week_starts: sunday } }",
             "past_behavior: { did: { event: A, during: last_week } }",
             "past_behavior: { did: { event: A, during: last_month } }",
             "past_behavior: { did: { event: A, during: this_year } }"});
  life.does("A", "2026-11-28T12:00");  // A Saturday.
  EXPECT_TRUE(life.in(0));
  EXPECT_TRUE(life.in(1));
  EXPECT_TRUE(life.in_at("2026-11-28T23:59:59.999", 1));
  EXPECT_FALSE(life.in_at("2026-11-29T00:00", 1));
  EXPECT_TRUE(life.in(0));
  EXPECT_FALSE(life.in_at("2026-11-30T00:00", 0));
  EXPECT_TRUE(life.in(2));
  EXPECT_FALSE(life.in(3));
  EXPECT_TRUE(life.in_at("2026-12-01T00:00", 3));
  EXPECT_FALSE(life.in_at("2026-12-07T00:00", 2));
  EXPECT_TRUE(life.in_at("2026-12-31T23:59:59.999", 4));
  EXPECT_FALSE(life.in_at("2027-01-01T00:00", 4));
  EXPECT_FALSE(life.in(3));
}

TEST(Past, NobodyIsInAnythingBeforeTheirFirstEvent) {
  Life life({"past_behavior: { did_not: { event: A } }"});
  EXPECT_FALSE(life.in_at("2026-03-01T09:00"));
  life.does("B", "2026-03-01T10:00");
  life.does("A", "2026-03-01T11:00");
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T10:00:00.000 CONDITION_MET by B of "
                                       "03-01T10:00:00.000",
                                       "slot 0 REMOVE at 03-01T11:00:00.000 CONDITION_LOST by A of "
                                       "03-01T11:00:00.000"));
}

TEST(Past, AnInnerSegmentChangesTheOuterOneInTheSameStep) {
  Life life({"past_behavior: { did: { event: A, within_last: 1h } }",
             "past_behavior: { not: { in_segment: s0 } }"});
  life.does("B", "2026-03-01T10:00");
  life.told();
  life.does("A", "2026-03-01T10:10");
  life.wait("2026-03-01T12:00");
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T10:10:00.000 CONDITION_MET by A of "
                                       "03-01T10:10:00.000",
                                       "slot 1 REMOVE at 03-01T10:10:00.000 CONDITION_LOST by A of "
                                       "03-01T10:10:00.000",
                                       "slot 0 REMOVE at 03-01T11:10:00.000 WINDOW_SLID",
                                       "slot 1 ADD at 03-01T11:10:00.000 WINDOW_SLID"));
}

TEST(Past, AProfilePropertyChangesByCommandsAndByTime) {
  Life life({"past_behavior: { property: { property: u, equals: x } }",
             "past_behavior: { property: { property: at, within_last: 1h } }"});
  life.sets("u", std::string("x"), "2026-03-01T10:00");
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T10:00:00.000 PROFILE_CHANGED by Set of "
                                       "03-01T10:00:00.000"));
  life.sets("at", std::string("2026-03-01T12:00"), "2026-03-01T11:00");
  EXPECT_FALSE(life.in_at("2026-03-01T11:59:59.999", 1));
  EXPECT_TRUE(life.in_at("2026-03-01T12:00", 1));
  EXPECT_TRUE(life.in_at("2026-03-01T12:59:59.999", 1));
  EXPECT_FALSE(life.in_at("2026-03-01T13:00", 1));
}

TEST(Past, WhatCameTooLateCountsFromWhenItCame) {
  Life life({"past_behavior: { did: { event: A, within_last: 3h } }"});
  life.does("B", "2026-03-01T12:00");
  EXPECT_EQ(life.does("A", "2026-03-01T09:30", {}, {}, "2026-03-01T12:10"), Outcome::kTooLate);
  EXPECT_FALSE(life.in());
  EXPECT_TRUE(life.in_at("2026-03-01T12:10"));
  EXPECT_FALSE(life.in_at("2026-03-01T12:30"));
  life.told();
  life.does("A", "2026-03-01T09:40", {}, {}, "2026-03-01T13:10");
  EXPECT_FALSE(life.in_at("2026-03-01T14:00")) << "the window has passed it";
}

TEST(Past, ALateEventCorrects) {
  Life life({"past_behavior: { did: { event: A, count: { at_least: 2 } } }"});
  life.does("A", "2026-03-01T12:00");
  EXPECT_EQ(life.does("A", "2026-03-01T11:00", {}, {}, "2026-03-01T12:10"), Outcome::kLate);
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T12:00:00.000 LATE_EVENT by A of "
                                       "03-01T11:00:00.000"));
}

TEST(Definitions, CountWhatWasBefore) {
  Life life({});
  life.does("A", "2026-03-01T10:00");
  life.wait("2026-03-01T12:00");
  life.define(0, "past_behavior: { did: { event: A } }");
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T12:00:00.000 BACKFILLED"));
  life.wait("2026-03-01T13:00");
  life.define(0, "past_behavior: { did: { event: A, count: { at_least: 1 } } }");
  EXPECT_THAT(life.told(), IsEmpty());
  life.define(0, "past_behavior: { did: { event: A, within_last: 1h } }");
  EXPECT_THAT(life.told(), ElementsAre("slot 0 REMOVE at 03-01T13:00:00.000 DEFINITION_CHANGED"));
}

TEST(Filter, SeesTheEventThatQualifiesAndTheMembershipsAfterIt) {
  Life life({"past_behavior: { did: { event: A, count: { at_least: 2 } } }",
             "live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: s0 } }",
             "live: { actions: { any_of: [ { event: A } ] }, "
             "filter: { did: { event: A, count: { equals: 1 } } } }"});
  life.does("A", "2026-03-01T10:00");
  EXPECT_FALSE(life.in(1));
  EXPECT_TRUE(life.in(2));
  life.does("A", "2026-03-01T10:01");
  EXPECT_TRUE(life.in(1));
}

TEST(OnADate, JoinsAtTheTimeOfDayOfTheShiftedDayAndLeavesADayLater) {
  // Kolkata is five and a half hours ahead.
  Life life(
      {"live: { date_time: { property: at, offset: -5d, at: '09:00', "
       "time_zone: Asia/Kolkata } }"});
  life.sets("at", std::string("2026-03-20T20:00:00Z"), "2026-03-01T10:00");
  EXPECT_FALSE(life.in_at("2026-03-16T03:29:59.999"));
  EXPECT_TRUE(life.in_at("2026-03-16T03:30"));
  EXPECT_TRUE(life.in_at("2026-03-17T03:29:59.999"));
  EXPECT_FALSE(life.in_at("2026-03-17T03:30"));
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-16T03:30:00.000 DATE_TIME",
                                       "slot 0 REMOVE at 03-17T03:30:00.000 EXPIRED"));
}

TEST(OnADate, ChangesWithTheProperty) {
  Life life({"live: { date_time: { property: at } }"});
  life.sets("at", std::string("2026-03-02T12:00"), "2026-03-01T10:00");
  life.sets("at", std::string("2026-03-03T12:00"), "2026-03-01T11:00");
  EXPECT_FALSE(life.in_at("2026-03-02T13:00"));
  EXPECT_TRUE(life.in_at("2026-03-03T12:00"));
}

TEST(OnADate, FiresWithTheEventThatSetItWhenNoMoreThanAnHourPast) {
  Life life({"live: { date_time: { property: at } }"});
  life.sets("at", std::string("2026-03-01T08:59:59.999"), "2026-03-01T10:00");
  EXPECT_FALSE(life.in());
  life.sets("at", std::string("2026-03-01T09:00"), "2026-03-01T10:00");
  EXPECT_TRUE(life.in());
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T10:00:00.000 DATE_TIME"));
}

TEST(OnADate, OfALeapDayIsTheDayBeforeInOtherYears) {
  Life life({"live: { date_time: { property: born, recurring: yearly } }"});
  life.sets("born", std::string("2024-02-29"), "2026-02-01T10:00");
  EXPECT_FALSE(life.in_at("2026-02-27T23:59:59.999"));
  EXPECT_TRUE(life.in_at("2026-02-28T00:00"));
  EXPECT_FALSE(life.in_at("2026-03-01T00:00"));
  EXPECT_TRUE(life.in_at("2028-02-29T00:00"));
}

TEST(OnADate, SeveralInAListEachCount) {
  Life life({"live: { date_time: { property: at } }"});
  life.sets("at",
            std::vector<Scalar>{std::string("2026-03-02T12:00"), std::string("2026-03-02T18:00")},
            "2026-03-01T10:00");
  EXPECT_TRUE(life.in_at("2026-03-02T12:00"));
  EXPECT_TRUE(life.in_at("2026-03-03T12:00")) << "a day after the latest";
  EXPECT_FALSE(life.in_at("2026-03-03T18:00"));
}

TEST(Sequences, EachEventTakesOneStepBeforeItsTimeIsUp) {
  const std::string definition =
      "live: { sequence: { steps: [ { event: A }, { event: A, within: 1h } ] } }";
  Life life({definition});
  life.does("A", "2026-03-01T10:00");
  EXPECT_FALSE(life.in()) << "one event takes one step";
  life.does("A", "2026-03-01T11:00");
  EXPECT_FALSE(life.in()) << "an hour later is too late";
  life.does("A", "2026-03-01T11:59:59.999");
  EXPECT_TRUE(life.in()) << "but the second began another";
}

TEST(Sequences, AnAbsenceIsDoneAtItsTimeUnlessTheEventCameBefore) {
  const std::string definition =
      "live: { sequence: { steps: [ { event: A }, { event: B }, "
      "{ did_not: { event: C }, within: 1h } ] } }";
  Life life({definition});
  life.does("A", "2026-03-01T10:00");
  life.does("B", "2026-03-01T10:30");
  EXPECT_FALSE(life.in_at("2026-03-01T11:29:59.999"));
  life.does("C", "2026-03-01T11:30");
  EXPECT_TRUE(life.in());
  EXPECT_THAT(life.told(), ElementsAre("slot 0 ADD at 03-01T11:30:00.000 INACTION by B of "
                                       "03-01T10:30:00.000"));
  Life other({definition});
  other.does("A", "2026-03-01T10:00");
  other.does("B", "2026-03-01T10:30");
  other.does("C", "2026-03-01T11:29:59.999");
  EXPECT_FALSE(other.in_at("2026-03-01T12:00"));
}

TEST(Sequences, AnEventEndsByAbsenceBeforeItAdvances) {
  // B ends what waits for none, and the A before it can't be used again.
  Life life(
      {"live: { sequence: { steps: [ { event: A }, { did_not: { event: B }, within: 1h }, "
       "{ event: B } ] } }"});
  life.does("A", "2026-03-01T10:00");
  life.does("B", "2026-03-01T10:30");
  life.does("B", "2026-03-01T12:00");
  EXPECT_FALSE(life.in());
  life.does("A", "2026-03-01T13:00");
  life.does("B", "2026-03-01T14:00");
  EXPECT_TRUE(life.in());
}

TEST(Deleted, ItsMembersAreThatForOthersUntilTheyLeave) {
  Life life({"past_behavior: { did: { event: K, within_last: 1h } }",
             "past_behavior: { all_of: [ { in_segment: s0 }, { did: { event: A } } ] }",
             "past_behavior: { not: { in_segment: s0 } }"});
  life.does("K", "2026-03-01T10:00");
  life.erase(0);
  life.wait("2026-03-01T12:00");
  life.told();
  life.does("A", "2026-03-01T12:10");
  EXPECT_TRUE(life.in(1)) << "its windows slide no more";
  EXPECT_FALSE(life.in(2));
  life.wait("2026-03-01T12:20");
  life.leave(0);
  EXPECT_FALSE(life.in(1));
  EXPECT_TRUE(life.in(2));
  EXPECT_THAT(life.told(), ElementsAre("slot 1 ADD at 03-01T12:10:00.000 CONDITION_MET by A of "
                                       "03-01T12:10:00.000",
                                       "slot 0 REMOVE at 03-01T12:20:00.000 SEGMENT_DELETED",
                                       "slot 1 REMOVE at 03-01T12:20:00.000 CONDITION_LOST",
                                       "slot 2 ADD at 03-01T12:20:00.000 CONDITION_MET"));
  life.does("K", "2026-03-01T12:30");
  EXPECT_FALSE(life.in(1));
}

TEST(Deleted, AFilterIsSettledAtTheDeletionAndAtTheTurn) {
  Life life({"past_behavior: { did: { event: K } }",
             "live: { actions: { any_of: [ { event: A } ] }, filter: { in_segment: s0 }, exit: { "
             "on: [ { event: X } ] } }"});
  life.does("A", "2026-03-01T10:00");
  life.does("K", "2026-03-01T10:10");
  life.erase(0);
  life.does("X", "2026-03-01T09:50", {}, {}, "2026-03-01T10:10");
  EXPECT_FALSE(life.in(1)) << "the trigger before the deletion is judged no more";
  life.does("A", "2026-03-01T10:20");
  EXPECT_TRUE(life.in(1));
  life.wait("2026-03-01T10:30");
  life.leave(0);
  EXPECT_TRUE(life.in(1));
  life.does("A", "2026-03-01T10:25", {}, {}, "2026-03-01T10:30");
  EXPECT_TRUE(life.in(1));
  life.does("X", "2026-03-01T10:15", {}, {}, "2026-03-01T10:30");
  EXPECT_FALSE(life.in(1)) << "it came in after the turn";
  life.does("A", "2026-03-01T10:40");
  EXPECT_FALSE(life.in(1)) << "nobody is in what it asks for";
}

TEST(Deleted, WhoWasNotInIsSettledByTheDeletionAlone) {
  Life life({"past_behavior: { did: { event: K } }",
             "live: { actions: { any_of: [ { event: A } ] }, filter: { not: { in_segment: s0 } }, "
             "exit: { on: [ { event: X } ] } }"});
  life.does("B", "2026-03-01T10:00");
  life.erase(0);
  life.does("A", "2026-03-01T10:20");
  life.wait("2026-03-01T10:30");
  life.leave(0);
  life.does("X", "2026-03-01T10:15", {}, {}, "2026-03-01T10:30");
  EXPECT_TRUE(life.in(1));
}

TEST(Deleted, AnotherUnderItsIdIsANewOne) {
  Life life({"past_behavior: { did: { event: K } }", "past_behavior: { in_segment: s0 }"});
  life.does("K", "2026-03-01T10:00");
  life.erase(0);
  life.leave(0);
  life.define(0, "past_behavior: { did: { event: K, count: { at_least: 2 } } }");
  EXPECT_FALSE(life.in(1));
  life.does("K", "2026-03-01T10:10");
  EXPECT_TRUE(life.in(1));
}

}  // namespace
}  // namespace segmentd::property
