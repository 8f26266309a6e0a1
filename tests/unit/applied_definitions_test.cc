#include "stream/applied_definitions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "segment/definition_text.h"

namespace segmentd {
namespace {

using segments::v1::Segment;
using ::testing::HasSubstr;

constexpr Offset kOffset(42);
constexpr Time kClock = Time::Millis(1'000'000);

Segment Make(const std::string& id, int64_t version, const std::string& event = "A",
             int64_t created = 1) {
  const auto documents =
      ReadSegmentDocuments("id: " + id + "\nname: " + id +
                           "\nlive: { actions: { any_of: [ { event: " + event + " } ] } }\n");
  Segment segment = documents->at(0).segment;
  segment.set_version(version);
  segment.mutable_create_time()->set_seconds(created);
  return segment;
}

// Fails the check of definitions.
Segment Broken(const std::string& id, int64_t version) {
  Segment segment = Make(id, version);
  auto* where = segment.mutable_live()->mutable_actions()->mutable_any_of(0)->add_where();
  where->set_property("p");
  where->set_matches("(");
  return segment;
}

class AppliedDefinitionsTest : public ::testing::Test {
 protected:
  AppliedDefinitions::Change go_to(const std::vector<Segment>& wanted) {
    AppliedDefinitions::Change change = definitions_.plan(wanted, kOffset, kClock);
    definitions_.apply(change);
    EXPECT_FALSE(definitions_.differ(wanted));
    return change;
  }

  AppliedDefinitions definitions_;
};

TEST_F(AppliedDefinitionsTest, GivesEachSegmentASlotAndItsActivation) {
  EXPECT_FALSE(definitions_.differ({}));
  EXPECT_TRUE(definitions_.differ({Make("a", 1)}));
  const auto change = go_to({Make("a", 1), Make("b", 4)});
  ASSERT_EQ(change.definitions.size(), 2u);
  EXPECT_FALSE(change.edits);
  EXPECT_EQ(change.definitions[1].slot(), 1u);
  EXPECT_EQ(change.definitions[1].activation_offset(), 42);
  EXPECT_EQ(change.definitions[1].activation_clock_ms(), 1'000'000);
  EXPECT_EQ(change.definitions[1].changed_offset(), 42);
  EXPECT_EQ(change.rules->find("b")->changed_offset, Offset(42));
  EXPECT_EQ(change.rules->find("b")->changed_clock, kClock);
  ASSERT_NE(change.rules, nullptr);
  EXPECT_EQ(change.rules->find("b")->segment.version(), 4);
  EXPECT_EQ(definitions_.statuses().at("b").version, 4);
}

TEST_F(AppliedDefinitionsTest, AnEditKeepsTheSlot) {
  go_to({Make("a", 1), Make("b", 1)});
  const auto change = go_to({Make("a", 1), Make("b", 2, "B")});
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_TRUE(change.edits);
  EXPECT_EQ(change.definitions[0].slot(), 1u);
  EXPECT_EQ(change.definitions[0].segment().version(), 2);
}

// Of whoever comes by later it would not be known any more.
TEST_F(AppliedDefinitionsTest, ANewSegmentThatFollowsOthersTakesEverybodyOver) {
  Segment inner = Make("inner", 1);
  Segment outer = Make("outer", 1);
  outer.mutable_live()->mutable_filter()->set_in_segment("inner");
  EXPECT_FALSE(go_to({inner}).edits);
  EXPECT_TRUE(go_to({inner, outer}).edits);
  const auto unrelated = definitions_.plan({inner, outer, Make("c", 1)}, Offset(70), kClock);
  EXPECT_FALSE(unrelated.edits);
}

TEST_F(AppliedDefinitionsTest, ARecordOfBeforeTheClockWasKeptHasThatOfTheActivation) {
  segments::v1::AppliedDefinition definition = go_to({Make("a", 1)}).definitions[0];
  definition.clear_changed_clock_ms();
  AppliedDefinitions restored;
  restored.restore(definition);
  EXPECT_EQ((*restored.compile())->find("a")->changed_clock, kClock);
  // Of a pause none was known.
  definition.set_changed_offset(70);
  restored.restore(definition);
  EXPECT_EQ((*restored.compile())->find("a")->changed_clock, Time::Millis(0));
}

TEST_F(AppliedDefinitionsTest, ADeletedSegmentKeepsItsSlotUntilItIsFreed) {
  go_to({Make("a", 1), Make("b", 1)});
  const auto change = definitions_.plan({Make("b", 1)}, Offset(70), Time::Millis(1'000'700));
  definitions_.apply(change);
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_TRUE(change.definitions[0].deleting());
  EXPECT_EQ(change.rules->segment(0)->changed_offset, Offset(70));
  EXPECT_EQ(change.rules->segment(0)->changed_clock, Time::Millis(1'000'700));
  EXPECT_EQ(change.rules->segment(0)->activation_offset, kOffset);
  EXPECT_EQ(change.rules->find("a"), nullptr);
  EXPECT_NE(change.rules->segment(0), nullptr);
  EXPECT_THAT(definitions_.deleting(), ::testing::ElementsAre(0u));
  EXPECT_TRUE(definitions_.statuses().at("a").deleting);

  EXPECT_EQ(go_to({Make("b", 1), Make("c", 1)}).definitions[0].slot(), 2u);
  definitions_.free(0);
  EXPECT_THAT(definitions_.deleting(), ::testing::IsEmpty());
  EXPECT_EQ(go_to({Make("b", 1), Make("c", 1), Make("d", 1)}).definitions[0].slot(), 0u);
}

TEST_F(AppliedDefinitionsTest, ASegmentMadeAgainWaitsForTheOldOnesEnd) {
  go_to({Make("a", 3)});
  const std::vector<Segment> wanted = {Make("a", 1, "B", /*created=*/2)};
  EXPECT_TRUE(definitions_.differ(wanted));
  const auto change = go_to(wanted);
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_TRUE(change.definitions[0].deleting());
  EXPECT_EQ(definitions_.statuses().at("a").version, 0);

  definitions_.free(0);
  EXPECT_TRUE(definitions_.differ(wanted));
  go_to(wanted);
  EXPECT_EQ(definitions_.statuses().at("a").version, 1);
}

TEST_F(AppliedDefinitionsTest, WhatCannotRunIsLeftOutAndSaidWhy) {
  const auto change = go_to({Broken("a", 1), Make("b", 1)});
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_EQ(change.definitions[0].segment().id(), "b");
  const DefinitionStatus status = definitions_.statuses().at("a");
  EXPECT_EQ(status.version, 0);
  EXPECT_EQ(status.rejected_version, 1);
  EXPECT_THAT(status.rejected, HasSubstr("live.actions.any_of[0].where[0].matches"));
  // Mended.
  EXPECT_TRUE(definitions_.differ({Make("a", 2), Make("b", 1)}));
  go_to({Make("a", 2), Make("b", 1)});
  EXPECT_TRUE(definitions_.statuses().at("a").rejected.empty());
}

TEST_F(AppliedDefinitionsTest, ABadEditLeavesTheOldVersionRunning) {
  go_to({Make("a", 1)});
  EXPECT_TRUE(go_to({Broken("a", 2)}).definitions.empty());
  EXPECT_EQ(definitions_.statuses().at("a").version, 1);
  EXPECT_EQ(definitions_.statuses().at("a").rejected_version, 2);
}

// Somebody else can write the other half of it.
TEST_F(AppliedDefinitionsTest, WhatClosesACircleIsLeftOut) {
  const auto in = [](const std::string& id, int64_t version, const std::string& inner) {
    Segment segment;
    segment.set_id(id);
    segment.set_name(id);
    segment.set_version(version);
    segment.mutable_create_time()->set_seconds(1);
    segment.mutable_past_behavior()->set_in_segment(inner);
    return segment;
  };
  go_to({Make("a", 1), in("x", 1, "a")});
  const std::vector<Segment> wanted = {
      Make("a", 2, "B"), in("b", 1, "c"), in("c", 1, "b"), Make("d", 1),    in("e", 1, "a"),
      in("f", 1, "g"),   in("g", 1, "h"), in("h", 1, "f"), in("x", 2, "d"), in("y", 1, "y")};
  const auto change = go_to(wanted);
  std::vector<std::string> taken;
  for (const auto& definition : change.definitions) taken.push_back(definition.segment().id());
  EXPECT_THAT(taken, ::testing::ElementsAre("a", "b", "d", "e", "f", "g", "x"));
  ASSERT_EQ(change.rejected.size(), 3u);
  for (const std::string id : {"c", "h", "y"}) {
    EXPECT_THAT(definitions_.statuses().at(id).rejected, HasSubstr("in_segment references go in a "
                                                                   "circle"));
    EXPECT_EQ(definitions_.statuses().at(id).rejected_version, 1);
  }
  EXPECT_EQ(change.rules->segments().size(), 7u);
}

TEST_F(AppliedDefinitionsTest, AnUnreadableRecordLeavesTheOldVersionRunning) {
  go_to({Make("a", 3)});
  Segment unreadable;
  unreadable.set_id("a");
  unreadable.set_status(segments::v1::SEGMENT_STATUS_INVALID);
  const auto change = go_to({unreadable});
  EXPECT_TRUE(change.definitions.empty());
  EXPECT_THAT(definitions_.deleting(), ::testing::IsEmpty());
  EXPECT_EQ(definitions_.statuses().at("a").version, 3);
}

TEST_F(AppliedDefinitionsTest, ARecordWrittenByHandMakesNoOtherSegment) {
  go_to({Make("a", 3)});
  // It tells neither when the segment was created nor the version.
  Segment broken = Broken("a", 0);
  broken.clear_create_time();
  broken.set_status(segments::v1::SEGMENT_STATUS_INVALID);
  EXPECT_TRUE(go_to({broken}).definitions.empty());
  EXPECT_EQ(definitions_.statuses().at("a").version, 3);
  // What mends it is an update.
  Segment mended = Make("a", 4, "B");
  mended.clear_create_time();
  const auto change = go_to({mended});
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_FALSE(change.definitions[0].deleting());
  EXPECT_EQ(change.definitions[0].segment().version(), 4);
}

Segment Resumed(Segment segment, int64_t version) {
  segment.set_resumed_version(version);
  return segment;
}

// What mends a record that could not be read: when the segment was created it does not say.
Segment Mend(const std::string& id, int64_t version) {
  Segment segment = Make(id, version, "B");
  segment.clear_create_time();
  return segment;
}

TEST_F(AppliedDefinitionsTest, MendingARecordDoesNotEndAPause) {
  Segment paused = Make("a", 3);
  paused.set_paused(true);
  go_to({paused, Make("b", 3)});
  definitions_.apply(definitions_.pause({1}, kOffset, kClock));
  // Versions between it and what runs don't matter.
  go_to({Mend("a", 9), Mend("b", 9)});
  EXPECT_TRUE(definitions_.statuses().at("a").paused);
  EXPECT_FALSE(definitions_.statuses().at("a").paused_by_guard);
  EXPECT_TRUE(definitions_.statuses().at("b").paused_by_guard);
  EXPECT_EQ(definitions_.statuses().at("a").version, 9);
  // Nor does another update by somebody who does not know.
  go_to({Mend("a", 10), Mend("b", 10)});
  EXPECT_TRUE(definitions_.statuses().at("a").paused);
  EXPECT_TRUE(definitions_.statuses().at("b").paused_by_guard);
  // Resuming does, also where other versions came after it.
  go_to({Resumed(Mend("a", 11), 11), Resumed(Mend("b", 13), 12)});
  EXPECT_FALSE(definitions_.statuses().at("a").paused);
  EXPECT_FALSE(definitions_.statuses().at("b").paused);
}

TEST_F(AppliedDefinitionsTest, APauseAfterMendingLastsThroughTheNextMending) {
  go_to({Mend("a", 9)});
  definitions_.apply(definitions_.pause({0}, kOffset, kClock));
  go_to({Mend("a", 15)});
  EXPECT_TRUE(definitions_.statuses().at("a").paused_by_guard);
}

TEST_F(AppliedDefinitionsTest, WhatMendsIsNoOtherSegmentWhateverItsVersion) {
  // A topic restored from a copy counts its records anew.
  go_to({Make("a", 50)});
  const auto change = go_to({Mend("a", 6)});
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_FALSE(change.definitions[0].deleting());
  EXPECT_EQ(definitions_.statuses().at("a").version, 6);
}

TEST_F(AppliedDefinitionsTest, WhatTheLogCallsInvalidIsNotRun) {
  go_to({Make("a", 3)});
  Segment invalid = Make("a", 0, "B");
  invalid.set_status(segments::v1::SEGMENT_STATUS_INVALID);
  invalid.set_status_detail("version: 1 to 2147483647 is allowed");
  EXPECT_TRUE(go_to({invalid}).definitions.empty());
  EXPECT_EQ(definitions_.statuses().at("a").version, 3);
  EXPECT_EQ(definitions_.statuses().at("a").rejected, invalid.status_detail());
}

TEST_F(AppliedDefinitionsTest, AnUpdateOfAnotherKindIsRefused) {
  go_to({Make("a", 3)});
  Segment wanted = Mend("a", 9);
  wanted.mutable_past_behavior()->mutable_did()->set_event("A");
  EXPECT_TRUE(go_to({wanted}).definitions.empty());
  const DefinitionStatus status = definitions_.statuses().at("a");
  EXPECT_EQ(status.version, 3);
  EXPECT_EQ(status.rejected_version, 9);
  EXPECT_THAT(status.rejected, HasSubstr("past_behavior: the segment is of the kind live"));
}

TEST_F(AppliedDefinitionsTest, ComesBackFromTheChangelog) {
  const auto change = go_to({Make("a", 1), Make("b", 2)});
  AppliedDefinitions restored;
  for (const auto& definition : change.definitions) restored.restore(definition);
  EXPECT_FALSE(restored.differ({Make("a", 1), Make("b", 2)}));
  const auto rules = restored.compile();
  ASSERT_TRUE(rules.ok()) << rules.status();
  EXPECT_EQ((*rules)->find("b")->activation_offset, kOffset);
  EXPECT_EQ((*rules)->find("b")->activation_clock, kClock);
}

// --- Segments that count the past.

using segments::v1::AppliedDefinition;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Segment Rule(const std::string& id, int64_t version, const std::string& rule) {
  const auto documents = ReadSegmentDocuments("id: " + id + "\nname: " + id + "\n" + rule);
  Segment segment = documents->at(0).segment;
  segment.set_version(version);
  segment.mutable_create_time()->set_seconds(1);
  return segment;
}
Segment Did(const std::string& id, int64_t version) {
  return Rule(id, version, "past_behavior: { did: { event: A } }");
}

TEST_F(AppliedDefinitionsTest, WhatCountsThePastIsBuiltFirst) {
  const std::vector<Segment> wanted = {
      Did("did", 1),
      Rule("filter", 1,
           "live: { actions: { any_of: [ { event: A } ] }, filter: { not: { did: { event: B } } } "
           "}"),
      Rule("property", 1, "past_behavior: { property: { property: p, exists: true } }"),
      Rule("date", 1, "live: { date_time: { property: p } }"), Make("live", 1)};
  const auto change = go_to(wanted);
  ASSERT_EQ(change.definitions.size(), 5u);
  for (const AppliedDefinition& definition : change.definitions) {
    const std::string& id = definition.segment().id();
    const bool active = id == "live";
    EXPECT_EQ(definition.phase(), active ? AppliedDefinition::ACTIVE : AppliedDefinition::BUILDING)
        << id;
    EXPECT_EQ(definition.first(), !active) << id;
    EXPECT_EQ(definition.history_offset(), 42) << id;
    EXPECT_EQ(change.rules->find(id)->built, active) << id;
    EXPECT_EQ(definitions_.statuses().at(id).building, !active) << id;
  }
  EXPECT_TRUE(ReadsPast(wanted[0]));
  EXPECT_TRUE(ReadsPast(wanted[1]));
  EXPECT_FALSE(ReadsPast(wanted[2]));
  EXPECT_FALSE(ReadsPast(wanted[3]));
}

TEST_F(AppliedDefinitionsTest, WhoAsksForThePast) {
  const auto reads = [](const std::string& rule) {
    return ReadsPast(ReadSegmentDocuments("{ id: s, name: s, " + rule + " }")->at(0).segment);
  };
  const std::string on_ios = "{ property: { property: context.os.name, equals: iOS } }";
  EXPECT_TRUE(reads("past_behavior: { all_of: [ " + on_ios + " ] }"));
  EXPECT_FALSE(reads("past_behavior: { property: { property: city, equals: Pune } }"));
  // The trigger need not say it.
  EXPECT_TRUE(reads("live: { actions: { any_of: [ { event: A } ] }, filter: " + on_ios + " }"));
}

TEST_F(AppliedDefinitionsTest, WhereNobodyIsThereIsNoPast) {
  const auto change = definitions_.plan({Did("a", 1)}, kOffset, kClock, /*nobody=*/true);
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_EQ(change.definitions[0].phase(), AppliedDefinition::ACTIVE);
  EXPECT_FALSE(change.definitions[0].first());
}

TEST_F(AppliedDefinitionsTest, GoesThroughThePhases) {
  const Segment live = Rule(
      "a", 1, "live: { actions: { any_of: [ { event: A } ] }, filter: { did: { event: B } } }");
  go_to({live});
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::BUILDING), ElementsAre(0u));
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::BUILDING), IsEmpty());
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::ACTIVATING), ElementsAre(0u));
  const auto change = definitions_.enter(AppliedDefinition::ACTIVE, {0});
  definitions_.apply(change);
  // Triggers count from its creation on, the past from where it was read to.
  EXPECT_EQ(change.rules->find("a")->activation_offset, kOffset);
  EXPECT_EQ(change.rules->find("a")->activation_clock, kClock);
  EXPECT_EQ(change.rules->find("a")->history_offset, kOffset);
  EXPECT_TRUE(change.rules->find("a")->built);
  EXPECT_FALSE(change.definitions[0].first());
  EXPECT_FALSE(definitions_.differ({live}));
}

TEST_F(AppliedDefinitionsTest, ADateCountsFromItsCreationOn) {
  go_to({Rule("a", 1, "live: { date_time: { property: p } }")});
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  const auto change = definitions_.enter(AppliedDefinition::ACTIVE, {0});
  EXPECT_EQ(change.rules->find("a")->activation_clock, kClock);
}

// Whatever the clock says between two records, and though the latest change of all is gone with its
// segment.
TEST_F(AppliedDefinitionsTest, EachChangeHasAHigherNumber) {
  const Segment a = Make("a", 1);
  go_to({a});
  const auto second = go_to({a, Make("b", 1)});
  EXPECT_EQ(second.rules->find("a")->change_number, 1u);
  EXPECT_EQ(second.rules->find("b")->change_number, 2u);
  EXPECT_EQ(second.rules->find("b")->changed_clock, second.rules->find("a")->changed_clock);
  const auto paused = definitions_.pause({0}, kOffset, kClock);
  EXPECT_EQ(paused.rules->find("a")->change_number, 3u);
  definitions_.apply(paused);
  go_to({a});
  EXPECT_EQ(definitions_.by_slot().at(1).change_number(), 4u);
  definitions_.free(1);

  AppliedDefinitions restored;
  restored.restore(definitions_.by_slot().at(0));
  EXPECT_EQ(restored.last_change_number(), 3u);
  restored.restore_last_change_number(definitions_.last_change_number());
  const auto last = restored.plan({a, Make("c", 1)}, kOffset, kClock);
  EXPECT_EQ(last.rules->find("c")->change_number, 5u);
}

TEST_F(AppliedDefinitionsTest, AnEditWhileBuildingBeginsAgain) {
  go_to({Did("a", 1)});
  auto change = definitions_.plan({Did("a", 2)}, Offset(70), kClock);
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_EQ(change.definitions[0].phase(), AppliedDefinition::BUILDING);
  EXPECT_EQ(change.definitions[0].history_offset(), 70);
  // Nobody was told anything yet.
  EXPECT_TRUE(change.definitions[0].first());
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  change = definitions_.plan({Did("a", 2)}, Offset(90), kClock);
  EXPECT_FALSE(change.definitions[0].first());
}

TEST_F(AppliedDefinitionsTest, AnEditOfALiveSegmentWaitsUntilItIsBuilt) {
  const char* const yaml = "live: { date_time: { property: p } }";
  go_to({Rule("a", 1, yaml)});
  Segment paused = Rule("a", 2, yaml);
  paused.set_paused(true);
  for (const auto phase : {AppliedDefinition::BUILDING, AppliedDefinition::ACTIVATING}) {
    definitions_.apply(definitions_.enter(phase, {0}));
    EXPECT_FALSE(definitions_.differ({Rule("a", 2, yaml)}));
    EXPECT_THAT(definitions_.plan({Rule("a", 2, yaml)}, Offset(80), kClock).definitions, IsEmpty());
    // A pause does not wait, nor does a deletion.
    EXPECT_TRUE(definitions_.differ({paused}));
    EXPECT_TRUE(definitions_.plan({paused}, Offset(80), kClock).definitions.at(0).paused());
    EXPECT_TRUE(definitions_.plan({}, Offset(80), kClock).definitions.at(0).deleting());
  }
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVE, {0}));
  const auto change = definitions_.plan({Rule("a", 2, yaml)}, Offset(90), Time::Millis(3'000'000));
  EXPECT_EQ(change.definitions.at(0).activation_offset(), 90);
  EXPECT_EQ(change.definitions.at(0).activation_clock_ms(), 3'000'000);
}

TEST_F(AppliedDefinitionsTest, WhatCannotFollowIsRefusedBeforeTheVersionBeforeIsBuilt) {
  go_to({Rule("a", 1, "live: { date_time: { property: p } }")});
  const Segment other = Did("a", 2);
  EXPECT_TRUE(definitions_.differ({other}));
  for (const auto phase :
       {AppliedDefinition::BUILDING, AppliedDefinition::ACTIVATING, AppliedDefinition::ACTIVE}) {
    definitions_.apply(definitions_.enter(phase, {0}));
    EXPECT_THAT(go_to({other}).definitions, IsEmpty());
    const DefinitionStatus status = definitions_.statuses().at("a");
    EXPECT_EQ(status.version, 1);
    EXPECT_EQ(status.rejected_version, 2);
    EXPECT_THAT(status.rejected, HasSubstr("past_behavior: the segment is of the kind live"));
  }
}

TEST_F(AppliedDefinitionsTest, ALiveSegmentIsBuiltWithWhatItFiltersBy) {
  const std::string live = "live: { actions: { any_of: [ { event: A } ] }, filter: ";
  const Segment by_inner = Rule("by-inner", 1, live + "{ not: { in_segment: inner } } }");
  const Segment by_other = Rule("by-other", 1, live + "{ in_segment: by-inner } }");
  const Segment alone = Rule("alone", 1, live + "{ property: { property: p, equals: 1 } } }");
  const Segment counts =
      Rule("counts", 1, live + "{ all_of: [ { in_segment: inner }, { did: { event: B } } ] } }");
  go_to({alone, by_inner, by_other, counts, Did("inner", 1)});
  // Slots as in this list.
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::BUILDING), ElementsAre(1u, 2u, 3u, 4u));
  EXPECT_TRUE(definitions_.by_slot().at(1).first());
  EXPECT_THAT(definitions_.ready({1, 2}), IsEmpty());
  // The inner one waits for the history of who filters by it: all are built together.
  EXPECT_THAT(definitions_.ready({1, 2, 4}), IsEmpty());
  EXPECT_THAT(definitions_.ready({1, 2, 3, 4}), ElementsAre(1u, 2u, 3u, 4u));
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVE, {1, 2, 3, 4}));
  // Of one that has been built there is nothing to wait for.
  Segment again = by_inner;
  again.set_version(2);
  EXPECT_EQ(definitions_.plan({alone, again, by_other, counts, Did("inner", 1)}, kOffset, kClock)
                .definitions.at(0)
                .phase(),
            AppliedDefinition::ACTIVE);
}

TEST_F(AppliedDefinitionsTest, WhatRefersToABuildingSegmentWaitsForIt) {
  go_to(
      {Did("inner", 1), Rule("middle", 1, "past_behavior: { not: { in_segment: inner } }"),
       Rule("outer", 1, "past_behavior: { any_of: [ { in_segment: middle }, { in_segment: x } ] }"),
       Did("other", 1)});
  EXPECT_THAT(definitions_.ready({1, 2, 3}), ElementsAre(3u));
  EXPECT_THAT(definitions_.ready({0, 2, 3}), ElementsAre(0u, 3u));
  EXPECT_THAT(definitions_.ready({0, 1, 2, 3}), ElementsAre(0u, 1u, 2u, 3u));
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVE, {0}));
  EXPECT_THAT(definitions_.ready({1, 2}), ElementsAre(1u, 2u));
}

TEST_F(AppliedDefinitionsTest, APausedSegmentIsBuiltWhenItIsResumed) {
  Segment paused = Did("a", 1);
  paused.set_paused(true);
  const auto change = go_to({paused});
  EXPECT_EQ(change.definitions[0].phase(), AppliedDefinition::ACTIVE);
  EXPECT_TRUE(change.rules->find("a")->paused);
  EXPECT_TRUE(definitions_.statuses().at("a").paused);
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::ACTIVE), IsEmpty());

  const auto resumed = go_to({Resumed(Did("a", 2), 2)});
  EXPECT_EQ(resumed.definitions[0].phase(), AppliedDefinition::BUILDING);
  EXPECT_TRUE(resumed.definitions[0].first());
}

TEST_F(AppliedDefinitionsTest, TheGuardsPauseLastsUntilItIsResumed) {
  go_to({Make("a", 1)});
  const auto change = definitions_.pause({0}, Offset(70), Time::Millis(1'000'700));
  definitions_.apply(change);
  EXPECT_TRUE(change.edits);
  EXPECT_TRUE(change.rules->segment(0)->paused);
  EXPECT_EQ(change.rules->segment(0)->changed_offset, Offset(70));
  EXPECT_EQ(change.rules->segment(0)->changed_clock, Time::Millis(1'000'700));
  EXPECT_EQ(change.rules->segment(0)->activation_offset, kOffset);
  EXPECT_TRUE(definitions_.statuses().at("a").paused_by_guard);
  EXPECT_FALSE(definitions_.differ({Make("a", 1)}));
  // By somebody who did not know.
  go_to({Make("a", 2, "B")});
  EXPECT_TRUE(definitions_.statuses().at("a").paused_by_guard);
  go_to({Resumed(Make("a", 3, "B"), 3)});
  EXPECT_FALSE(definitions_.statuses().at("a").paused);
  // Updated and resumed before this was looked at again.
  definitions_.apply(definitions_.pause({0}, Offset(70), kClock));
  go_to({Make("a", 4, "C")});
  EXPECT_TRUE(definitions_.statuses().at("a").paused_by_guard) << "of an earlier pause";
  go_to({Resumed(Make("a", 6, "D"), 5)});
  EXPECT_FALSE(definitions_.statuses().at("a").paused);
  EXPECT_FALSE(definitions_.statuses().at("a").paused_by_guard);
}

TEST_F(AppliedDefinitionsTest, TheEndOfAShadowIsToldUserByUser) {
  const SegmentState before{.version = 1, .member = true};
  const SegmentState waits{.version = 2, .member = true, .built = false};
  const SegmentState had_turn{.version = 2, .member = true};
  Segment shadow = Make("a", 1);
  shadow.set_shadow(true);
  go_to({shadow});
  EXPECT_FALSE(definitions_.told(0, &before));
  const auto change = go_to({Make("a", 2)});
  EXPECT_EQ(change.definitions[0].phase(), AppliedDefinition::BUILDING);
  EXPECT_TRUE(change.definitions[0].untold());
  EXPECT_FALSE(definitions_.told(0, &waits));
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  EXPECT_TRUE(definitions_.told(0, &had_turn));
  EXPECT_FALSE(definitions_.told(0, &waits));
  // Another version waits until all have had their turn.
  EXPECT_FALSE(definitions_.differ({Make("a", 3)}));
  EXPECT_THAT(definitions_.plan({Make("a", 3)}, kOffset, kClock).definitions, IsEmpty());
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVE, {0}));
  EXPECT_TRUE(definitions_.told(0, &waits));
  EXPECT_TRUE(definitions_.differ({Make("a", 3)}));
}

TEST_F(AppliedDefinitionsTest, TheEndOfAPausedShadowIsToldOnceItIsResumed) {
  Segment shadow = Make("a", 1);
  shadow.set_shadow(true);
  shadow.set_paused(true);
  go_to({shadow});
  Segment paused = Make("a", 2);
  paused.set_paused(true);
  const auto ended = go_to({paused});
  EXPECT_EQ(ended.definitions[0].phase(), AppliedDefinition::ACTIVE);
  EXPECT_TRUE(ended.definitions[0].untold());
  const SegmentState had_turn{.version = 2, .member = true};
  const SegmentState waits{.version = 2, .member = true, .built = false};
  EXPECT_FALSE(definitions_.told(0, &had_turn));
  EXPECT_FALSE(definitions_.told(0, &waits));
  const auto resumed = go_to({Resumed(Make("a", 3), 3)});
  EXPECT_EQ(resumed.definitions[0].phase(), AppliedDefinition::BUILDING);
  EXPECT_TRUE(resumed.definitions[0].untold());
}

TEST_F(AppliedDefinitionsTest, APauseAmidTheEndOfAShadowLeavesWhoWasTold) {
  const SegmentState waits{.version = 2, .member = true, .built = false};
  const SegmentState had_turn{.version = 2, .member = true};
  Segment shadow = Make("a", 1);
  shadow.set_shadow(true);
  go_to({shadow});
  go_to({Make("a", 2)});
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  const auto pause = definitions_.pause({0}, Offset(70), kClock);
  EXPECT_TRUE(pause.rules->segment(0)->telling);
  definitions_.apply(pause);
  EXPECT_THAT(definitions_.in_phase(AppliedDefinition::ACTIVATING), IsEmpty());
  EXPECT_FALSE(definitions_.statuses().at("a").building);
  EXPECT_TRUE(definitions_.told(0, &had_turn));
  EXPECT_FALSE(definitions_.told(0, &waits));

  // The next version, which a state says of itself.
  SegmentState was_told{.version = 2, .member = true, .told = true};
  const auto update = go_to({Make("a", 3)});
  EXPECT_TRUE(update.definitions[0].paused_by_guard());
  EXPECT_FALSE(update.rules->segment(0)->telling);
  EXPECT_TRUE(definitions_.told(0, &was_told));
  EXPECT_FALSE(definitions_.told(0, &waits));
  go_to({Resumed(Make("a", 4), 4)});
  EXPECT_EQ(definitions_.in_phase(AppliedDefinition::BUILDING), std::vector<Slot>{0});
  was_told.built = false;
  was_told.version = 4;
  EXPECT_TRUE(definitions_.told(0, &was_told));
}

// Who was told of is marked in the users' states, when they are taken over.
TEST_F(AppliedDefinitionsTest, APauseByAVersionAmidTheEndOfAShadowDoesNotWait) {
  Segment shadow = Make("a", 1);
  shadow.set_shadow(true);
  go_to({shadow});
  go_to({Make("a", 2)});
  definitions_.apply(definitions_.enter(AppliedDefinition::ACTIVATING, {0}));
  Segment paused = Make("a", 3);
  paused.set_paused(true);
  EXPECT_TRUE(definitions_.differ({paused}));
  const auto pause = go_to({paused});
  ASSERT_EQ(pause.definitions.size(), 1u);
  EXPECT_TRUE(pause.edits);
  EXPECT_TRUE(pause.definitions[0].untold());
  EXPECT_TRUE(pause.rules->segment(0)->telling);
  EXPECT_TRUE(definitions_.statuses().at("a").paused);
  const SegmentState was_told{.version = 2, .member = true, .told = true};
  const SegmentState waits{.version = 2, .member = true, .built = false};
  EXPECT_TRUE(definitions_.told(0, &was_told));
  EXPECT_FALSE(definitions_.told(0, &waits));
  go_to({Resumed(Make("a", 4), 4)});
  EXPECT_EQ(definitions_.in_phase(AppliedDefinition::BUILDING), std::vector<Slot>{0});
  EXPECT_TRUE(definitions_.told(0, &was_told));
}

TEST_F(AppliedDefinitionsTest, AShadowIsOneFromTheStartOrNever) {
  go_to({Make("a", 1)});
  Segment shadow = Make("a", 2);
  shadow.set_shadow(true);
  EXPECT_TRUE(go_to({shadow}).definitions.empty());
  EXPECT_THAT(definitions_.statuses().at("a").rejected, HasSubstr("shadow"));
}

}  // namespace
}  // namespace segmentd
