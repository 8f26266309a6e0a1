#include "segment/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "segment/definition_text.h"

namespace segmentd {
namespace {

using ::testing::ElementsAre;

constexpr Time kStart = Time::Millis(1'790'000'000'000);

ActiveSegment Make(Slot slot, const std::string& rule) {
  const auto documents =
      ReadSegmentDocuments("id: s" + std::to_string(slot) + "\nname: S\n" + rule);
  ActiveSegment active;
  active.slot = slot;
  active.segment = documents->at(0).segment;
  active.segment.set_version(1);
  active.built = false;
  return active;
}

class HistoryTest : public ::testing::Test {
 protected:
  // Sums n over each user's events A, and counts their events B.
  HistoryTest() {
    settings_.max_lateness = Duration::Hours(1);
    segments_ = {
        Make(0, "past_behavior: { did: { event: A, sum: { property: n, greater_than: 0 } } }"),
        Make(3, "past_behavior: { did: { event: B, count: { at_least: 100 } } }")};
    rules_ = *RuleSet::Compile(segments_);
    history_ = std::make_unique<History>(rules_, settings_);
  }

  void add(const std::string& user, const std::string& name, Time time, Time record_time,
           const std::string& message = "", double n = 1) {
    const std::vector<EventProperty> properties = {{FieldIndex{0}, Value::Number(n)}};
    Event event;
    event.name = name;
    event.time = time;
    event.record_time = record_time;
    event.offset = Offset(offset_++);
    event.message_id = message;
    event.properties = properties;
    history_->add(user, event);
  }
  void add(const std::string& user, const std::string& name, const std::string& message,
           double n = 1) {
    add(user, name, kStart, kStart, message, n);
  }

  // Of the only measure of the slot's rule; -1 when there is nothing.
  double read(const std::string& user, Slot slot, absl::Span<const SeenMessage> seen = {},
              std::vector<SeenMessage>* messages = nullptr) {
    Past past;
    if (!history_->take(user, slot, seen, &past)) return -1;
    if (messages != nullptr) *messages = past.messages;
    EXPECT_EQ(past.measures.size(), 1u);
    double sum = 0;
    for (const Sample& sample : past.measures[0].samples) {
      sum += slot == 0 ? sample.sum : static_cast<double>(sample.count);
    }
    return sum;
  }

  int64_t offset_ = 0;
  Settings settings_;
  std::vector<ActiveSegment> segments_;
  std::shared_ptr<const RuleSet> rules_;
  std::unique_ptr<History> history_;
};

uint64_t Id(const std::string& message) {
  return ValueFingerprint(Value::String(message));
}

TEST_F(HistoryTest, KeepsEachUsersAndEachSegmentsOwn) {
  add("u", "A", "", 2);
  add("u", "A", "", 3);
  add("u", "B", "");
  add("v", "A", "", 7);
  add("w", "C", "");
  history_->finish();
  EXPECT_EQ(read("u", 0), 5);
  EXPECT_EQ(read("u", 3), 1);
  EXPECT_EQ(read("v", 0), 7);
  // What others count of a user says nothing to it.
  EXPECT_EQ(read("v", 3), -1);
  EXPECT_EQ(read("w", 0), -1);
  EXPECT_EQ(read("nobody", 0), -1);
  EXPECT_EQ(history_->users(), 3u);
  EXPECT_EQ(history_->records(), 5);
}

TEST_F(HistoryTest, CountsAMessageOnceWithinTheLateness) {
  add("u", "A", kStart, kStart, "m");
  add("u", "A", kStart, kStart + Duration::Minutes(60), "m");
  add("v", "A", kStart, kStart, "m");
  history_->finish();
  EXPECT_EQ(read("u", 0), 1);
  EXPECT_EQ(read("v", 0), 1);
  // Forgotten by then.
  add("w", "A", kStart, kStart, "m");
  add("w", "A", kStart + Duration::Minutes(61), kStart + Duration::Minutes(61), "m");
  history_->finish();
  EXPECT_EQ(read("w", 0), 2);
}

TEST_F(HistoryTest, HandsOnTheMessagesThatMayComeAgain) {
  add("u", "A", kStart, kStart, "old");
  add("u", "A", kStart + Duration::Hours(2), kStart + Duration::Hours(2), "new");
  add("u", "B", kStart + Duration::Hours(2), kStart + Duration::Hours(2), "other");
  history_->finish();
  std::vector<SeenMessage> messages;
  EXPECT_EQ(read("u", 0, {}, &messages), 2);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].id, Id("new"));
  EXPECT_EQ(messages[0].record_time, kStart + Duration::Hours(2));
}

TEST_F(HistoryTest, LeavesOutWhatTheStreamHasCountedAgain) {
  add("u", "A", kStart, kStart, "m");
  add("u", "A", kStart, kStart, "n");
  history_->finish();
  const auto sum = [&](Duration after, int64_t offset) {
    return read("u", 0, std::vector<SeenMessage>{{Id("m"), kStart + after, Offset(offset)}});
  };
  // The stream knew of the first itself.
  EXPECT_EQ(sum(Duration(), 0), 2);
  // It did not, and took the second for the first; whoever sends again may keep the record's time.
  EXPECT_EQ(sum(Duration::Minutes(1), 2), 1);
  EXPECT_EQ(sum(Duration(), 2), 1);
  // Another event, long after.
  EXPECT_EQ(sum(Duration::Hours(2), 2), 2);
}

// The stream may know a message by any of its records: a segment that was there earlier asked for
// it from one of them on.
TEST_F(HistoryTest, WhatCameAgainInThePastIsNotLeftOut) {
  for (int i = 0; i < 50; ++i) add("u", "A", kStart, kStart + Duration::Minutes(i), "m");
  history_->finish();
  for (int i = 0; i <= 50; ++i) {
    const SeenMessage seen{Id("m"), kStart + Duration::Minutes(i), Offset(i)};
    EXPECT_EQ(read("u", 0, std::vector<SeenMessage>{seen}), i < 50 ? 1 : -1) << i;
  }
}

// Of an image that does not say which records were seen.
TEST_F(HistoryTest, GoesByTheRecordTimeOfOldImages) {
  add("u", "A", kStart, kStart, "m");
  history_->finish();
  EXPECT_EQ(read("u", 0, std::vector<SeenMessage>{{Id("m"), kStart}}), 1);
  EXPECT_EQ(read("u", 0, std::vector<SeenMessage>{{Id("m"), kStart + Duration::Minutes(1)}}), -1);
}

TEST_F(HistoryTest, CountsWhatCameTooLate) {
  add("u", "A", kStart, kStart);
  add("u", "A", kStart - Duration::Hours(5), kStart);
  history_->finish();
  EXPECT_EQ(read("u", 0), 2);
}

TEST_F(HistoryTest, RemembersTheLatestMessages) {
  settings_.max_message_ids = 4;
  for (int all = 1; all <= 20; ++all) {
    history_ = std::make_unique<History>(rules_, settings_);
    for (int i = 0; i < all; ++i) add("u", "A", "m" + std::to_string(i));
    // One that is remembered.
    add("u", "A", "m" + std::to_string(std::max(all - 4, 0)));
    history_->finish();
    std::vector<SeenMessage> messages;
    EXPECT_EQ(read("u", 0, {}, &messages), all);
    std::vector<uint64_t> ids(messages.size());
    std::transform(messages.begin(), messages.end(), ids.begin(),
                   [](const SeenMessage& message) { return message.id; });
    std::vector<uint64_t> latest;
    for (int i = std::max(all - 4, 0); i < all; ++i) latest.push_back(Id("m" + std::to_string(i)));
    EXPECT_EQ(ids, latest);
  }
}

// For a filter, what a late trigger may come before stands apart: also without a message ID, and
// what came too late from when it counts.
TEST_F(HistoryTest, KeepsApartWhatALateTriggerMayPrecede) {
  settings_.max_facts = 3;
  rules_ = *RuleSet::Compile(
      {Make(0,
            "live: { actions: { any_of: [ { event: T } ] }, filter: { did: { event: A, sum: "
            "{ property: n, at_least: 1 } } } }")});
  const auto read_apart = [&](const std::vector<int>& minutes) {
    history_ = std::make_unique<History>(rules_, settings_);
    for (const int at : minutes) {
      add("u", "A", kStart + Duration::Minutes(at), kStart + Duration::Minutes(std::max(at, 60)));
    }
    history_->finish();
    Past past;
    EXPECT_TRUE(history_->take("u", 0, {}, &past));
    std::vector<int> apart;
    for (const Addition& event : past.ahead) {
      apart.push_back(static_cast<int>((event.from - kStart).millis() / 60'000));
    }
    int64_t together = 0;
    for (const MeasureState& measure : past.measures) {
      for (const Sample& sample : measure.samples) together += sample.count;
    }
    EXPECT_EQ(together + static_cast<int64_t>(apart.size()), std::ssize(minutes));
    EXPECT_EQ(past.cut_off, std::max<int64_t>(0, std::ssize(minutes) - 3));
    return apart;
  };
  EXPECT_THAT(read_apart({10, 60}), ElementsAre(10, 60));
  EXPECT_THAT(read_apart({10, 61, 60}), ElementsAre(10, 60, 61));
  EXPECT_THAT(read_apart({10, 60, 70}), ElementsAre(60, 70));
  EXPECT_THAT(read_apart({60, -30}), ElementsAre(60, 60));
  // The latest max_facts.
  EXPECT_THAT(read_apart({60, 61, 62, 63, 64}), ElementsAre(62, 63, 64));
}

// A producer's wrong clock, of another user.
TEST_F(HistoryTest, ARecordTimeAheadOfTheClockEndsNothing) {
  segments_ = {
      Make(0,
           "live: { actions: { any_of: [ { event: T } ] }, filter: { did: { event: A, sum: "
           "{ property: n, at_least: 1 } } } }")};
  segments_[0].activation_clock = kStart + Duration::Minutes(30);
  rules_ = *RuleSet::Compile(segments_);
  history_ = std::make_unique<History>(rules_, settings_);
  add("u", "A", "m1");
  const Time wrong = kStart + Duration::Days(3);
  add("v", "A", wrong, wrong);
  history_->finish();
  Past past;
  EXPECT_TRUE(history_->take("u", 0, {}, &past));
  EXPECT_EQ(past.ahead.size(), 1u);
  EXPECT_EQ(past.messages.size(), 1u);
}

TEST_F(HistoryTest, KnowsWhatItWasReadFor) {
  EXPECT_TRUE(history_->has(segments_[1]));
  ActiveSegment edited = segments_[1];
  edited.segment.set_version(2);
  EXPECT_FALSE(history_->has(edited));
  ActiveSegment elsewhere = segments_[1];
  elsewhere.slot = 1;
  EXPECT_FALSE(history_->has(elsewhere));
}

}  // namespace
}  // namespace segmentd
