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

TEST_F(AppliedDefinitionsTest, ADeletedSegmentKeepsItsSlotUntilItIsFreed) {
  go_to({Make("a", 1), Make("b", 1)});
  const auto change = go_to({Make("b", 1)});
  ASSERT_EQ(change.definitions.size(), 1u);
  EXPECT_TRUE(change.definitions[0].deleting());
  EXPECT_EQ(change.rules->find("a"), nullptr);
  EXPECT_NE(change.rules->segment(0), nullptr);
  EXPECT_EQ(definitions_.deleting(), std::optional<Slot>(0));
  EXPECT_TRUE(definitions_.statuses().at("a").deleting);

  EXPECT_EQ(go_to({Make("b", 1), Make("c", 1)}).definitions[0].slot(), 2u);
  definitions_.free(0);
  EXPECT_EQ(definitions_.deleting(), std::nullopt);
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

TEST_F(AppliedDefinitionsTest, AnUnreadableRecordLeavesTheOldVersionRunning) {
  go_to({Make("a", 3)});
  Segment unreadable;
  unreadable.set_id("a");
  unreadable.set_status(segments::v1::SEGMENT_STATUS_INVALID);
  const auto change = go_to({unreadable});
  EXPECT_TRUE(change.definitions.empty());
  EXPECT_FALSE(definitions_.deleting().has_value());
  EXPECT_EQ(definitions_.statuses().at("a").version, 3);
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

}  // namespace
}  // namespace segmentd
