// The replay of a file of events: order, times, deadlines and counts.

#include "app/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "segment/definition_text.h"

namespace segmentd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<segments::v1::Segment> Segments(std::string_view yaml) {
  std::vector<segments::v1::Segment> segments;
  auto documents = ReadSegmentDocuments(yaml);
  EXPECT_TRUE(documents.ok()) << documents.status();
  for (SegmentDocument& document : *documents) {
    EXPECT_TRUE(document.violations.empty());
    segments.push_back(std::move(document.segment));
  }
  return segments;
}

Time At(std::string_view text) {
  Time time;
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

// "ADD u1 S 09:20:00.000"
std::string Short(std::string_view change) {
  const auto decoded = DecodeChange(change);
  EXPECT_TRUE(decoded.ok()) << change;
  const Time at = Time::Millis(decoded->at().seconds() * 1000 + decoded->at().nanos() / 1000000);
  return segments::v1::Action_Name(decoded->action()) + " " + decoded->user_id() + " " +
         decoded->segment_id() + " " + FormatTimestamp(at).substr(11, 12);
}

class ReplayTest : public testing::Test {
 protected:
  void begin(std::string_view yaml) {
    auto replay = Replay::Create(Segments(yaml), [this](std::string_view change) {
      records_.emplace_back(change);
      changes_.push_back(Short(change));
    });
    ASSERT_TRUE(replay.ok()) << replay.status();
    replay_ = std::make_unique<Replay>(*std::move(replay));
  }
  void event(const std::string& user, const std::string& name, const std::string& time) {
    line(R"({"type":"track","userId":")" + user + R"(","event":")" + name +
         R"(","timestamp":"2026-11-22T)" + time + R"(Z"})");
  }
  void line(const std::string& text) { replay_->apply(text, ++line_); }

  std::unique_ptr<Replay> replay_;
  std::vector<std::string> records_;
  std::vector<std::string> changes_;
  int64_t line_ = 0;
};

constexpr char kCart[] = R"(
id: cart
name: Left a cart
live:
  inaction: { trigger: { event: Added }, does_not_do: [ { event: Charged } ], within: 10m }
)";

TEST_F(ReplayTest, DeadlinesOfAllUsersFireInTheOrderOfTimeBeforeTheEventThatPassesThem) {
  begin(kCart);
  event("u2", "Added", "09:00:02");
  event("u1", "Added", "09:00:01");
  event("u3", "Added", "09:00:03");
  EXPECT_THAT(changes_, ElementsAre());
  event("u4", "Added", "09:10:02");
  EXPECT_THAT(changes_, ElementsAre("ADD u1 cart 09:10:01.000", "ADD u2 cart 09:10:02.000"));
  replay_->advance(At("2026-11-22T09:15:00Z"));
  EXPECT_THAT(changes_, ElementsAre("ADD u1 cart 09:10:01.000", "ADD u2 cart 09:10:02.000",
                                    "ADD u3 cart 09:10:03.000"));
}

TEST_F(ReplayTest, AssignedIdsAreThoseThatNoSegmentHas) {
  begin(R"(
{ name: First, live: { actions: { any_of: [ { event: A } ] } } }
---
{ id: "1", name: One, live: { actions: { any_of: [ { event: B } ] } } }
---
{ name: Third, live: { actions: { any_of: [ { event: C } ] } } }
---
{ id: "4", name: Four, live: { actions: { any_of: [ { event: D } ] } } }
---
{ name: Fifth, live: { actions: { any_of: [ { event: E } ] } } }
)");
  std::vector<std::string> ids;
  for (const Replay::SegmentCount& segment : replay_->segments()) ids.push_back(segment.id);
  EXPECT_THAT(ids, ElementsAre("2", "1", "3", "4", "5"));
  event("u1", "A", "09:00:00");
  event("u1", "B", "09:00:01");
  EXPECT_THAT(changes_, ElementsAre("ADD u1 2 09:00:00.000", "ADD u1 1 09:00:01.000"));
}

TEST_F(ReplayTest, ThereIsNoGraceAndADeadlineComesBeforeAnEventOfItsMoment) {
  begin(kCart);
  event("u1", "Added", "09:00:00");
  event("u1", "Charged", "09:10:00");
  EXPECT_THAT(changes_, ElementsAre("ADD u1 cart 09:10:00.000", "REMOVE u1 cart 09:10:00.000"));
}

TEST_F(ReplayTest, ADeadlineSetByADeadlineFiresToo) {
  begin(R"(
id: cart
name: Left a cart
live:
  inaction: { trigger: { event: Added }, does_not_do: [ { event: Charged } ], within: 10m }
  exit: { after: 1m }
)");
  event("u1", "Added", "09:00:00");
  event("u2", "Added", "09:00:30");
  replay_->advance(At("2026-11-22T12:00:00Z"));
  EXPECT_THAT(changes_, ElementsAre("ADD u1 cart 09:10:00.000", "ADD u2 cart 09:10:30.000",
                                    "REMOVE u1 cart 09:11:00.000", "REMOVE u2 cart 09:11:30.000"));
  EXPECT_EQ(replay_->segments()[0].members, 0);
  EXPECT_EQ(replay_->segments()[0].added, 2);
}

TEST_F(ReplayTest, TheClockNeverGoesBack) {
  begin(kCart);
  event("u1", "Added", "09:00:00");
  event("u2", "Other", "09:20:00");
  event("u3", "Other", "09:05:00");
  EXPECT_EQ(replay_->clock(), At("2026-11-22T09:20:00Z"));
  replay_->advance(At("2026-11-22T09:01:00Z"));
  EXPECT_EQ(replay_->clock(), At("2026-11-22T09:20:00Z"));
}

TEST_F(ReplayTest, ChangesAreRecordsOfTheChangeTopicWithGaplessNumbers) {
  begin("name: Any\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
  event("u1", "Booked", "09:00:00");
  event("u2", "Booked", "09:00:01");
  ASSERT_EQ(records_.size(), 2u);
  EXPECT_EQ(
      records_[0],
      R"({"type":"Segment Membership Change","action":"ADD","segment_id":"1","segment_name":"Any",)"
      R"("user_id":"u1","at":"2026-11-22T09:00:00.000Z","reason":"TRIGGER",)"
      R"("cause":{"event":"Booked","at":"2026-11-22T09:00:00.000Z"},)"
      R"("segment_version":1,"change_id":"replay-0:0"})");
  EXPECT_THAT(records_[1], HasSubstr(R"("change_id":"replay-0:1"})"));
}

TEST_F(ReplayTest, AShadowIsCountedAndNotWritten) {
  begin(R"(
id: seen
name: Seen
live: { actions: { any_of: [ { event: Hi } ] } }
---
id: hidden
name: Hidden
shadow: true
live: { actions: { any_of: [ { event: Hi } ] } }
)");
  event("u1", "Hi", "10:00:00");
  EXPECT_THAT(changes_, ElementsAre("ADD u1 seen 10:00:00.000"));
  EXPECT_EQ(replay_->counts().changes[segments::v1::ADD], 1);
  EXPECT_EQ(replay_->segments()[1].members, 1);
}

TEST_F(ReplayTest, LinesThatAreNoEventsAreCountedAndNamed) {
  begin(kCart);
  event("u1", "Added", "09:00:00");
  line("{");
  line("");
  line(R"({"type":"track","event":"Added","timestamp":"2026-11-22T09:00:00Z"})");
  line(R"({"type":"track","userId":"u1","event":"Added"})");
  const Replay::Counts& counts = replay_->counts();
  EXPECT_EQ(counts.events, 1);
  EXPECT_EQ(counts.dead_letters, 3);
  ASSERT_EQ(replay_->dead_letters().size(), 3u);
  EXPECT_EQ(replay_->dead_letters()[0].line, 2);
  EXPECT_EQ(replay_->dead_letters()[1].line, 4);
  EXPECT_EQ(replay_->dead_letters()[1].error, DecodeError::kNoUser);
  EXPECT_EQ(replay_->dead_letters()[2].error, DecodeError::kMissingTimestamp);
}

TEST_F(ReplayTest, DeadLettersKeptAreBounded) {
  begin(kCart);
  for (int i = 0; i < 100; ++i) line("no event");
  EXPECT_EQ(replay_->counts().dead_letters, 100);
  EXPECT_EQ(replay_->dead_letters().size(), Replay::kDeadLettersKept);
}

TEST_F(ReplayTest, LateEventsAndDuplicatesAreCounted) {
  begin(kCart);
  event("u1", "Added", "09:00:00");
  event("u1", "Charged", "09:01:00");
  event("u1", "Added", "08:59:00");
  EXPECT_EQ(replay_->counts().late, 1);
  const std::string once =
      R"({"type":"track","userId":"u2","event":"Added","messageId":"m1","timestamp":"2026-11-22T09:02:00Z"})";
  line(once);
  line(once);
  EXPECT_EQ(replay_->counts().duplicates, 1);
}

TEST(Replay, SegmentsThatCannotRunAreRefused) {
  segments::v1::Segment segment;
  segment.set_name("Nothing");
  EXPECT_EQ(Replay::Create({segment}, [](std::string_view) {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace segmentd
