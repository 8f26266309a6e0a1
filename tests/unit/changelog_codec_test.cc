#include "state/changelog_codec.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

#include "tests/unit/golden_bytes.h"

namespace segmentd {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

std::string Key(const ChangelogKey& key) {
  std::string out = "what was there";
  FormatChangelogKey(key, &out);
  return out;
}

TEST(ChangelogCodec, KeysAreTheSameForEver) {
  using std::string_literals::operator""s;
  EXPECT_EQ(Key({.kind = ChangelogKind::kUser, .user = "u42"}), "uu42");
  EXPECT_EQ(Key({.kind = ChangelogKind::kDefinition, .slot = 0x01020304}), "d\1\2\3\4");
  EXPECT_EQ(Key({.kind = ChangelogKind::kDefinition, .slot = 0}), "d\0\0\0\0"s);
  EXPECT_EQ(Key({.kind = ChangelogKind::kImagePart, .user = "u42", .part = 0x01020304}),
            "p\1\2\3\4u42");
  EXPECT_EQ(Key({.kind = ChangelogKind::kTask}), "t");
}

TEST(ChangelogCodec, KeysRoundTrip) {
  for (const ChangelogKey& key :
       {ChangelogKey{.kind = ChangelogKind::kUser, .user = "u42"},
        ChangelogKey{.kind = ChangelogKind::kUser, .user = std::string_view("\0\xff t", 4)},
        ChangelogKey{.kind = ChangelogKind::kImagePart, .user = "u42", .part = 1},
        ChangelogKey{.kind = ChangelogKind::kImagePart, .user = "1", .part = 0xfffefdfc},
        ChangelogKey{.kind = ChangelogKind::kDefinition, .slot = 7},
        ChangelogKey{.kind = ChangelogKind::kDefinition, .slot = 0xfffefdfc},
        ChangelogKey{.kind = ChangelogKind::kTask}}) {
    const std::string bytes = Key(key);
    const auto parsed = ParseChangelogKey(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, key);
  }
}

TEST(ChangelogCodec, WrongKeysAreNamed) {
  auto error = [](std::string_view key) { return ParseChangelogKey(key).status(); };
  EXPECT_EQ(error("").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("u").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("d123").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("d12345").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("tx").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("p123").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("p1234").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error(std::string_view("p\0\0\0\0u", 6)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(error("h42").code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(error("h42").message()), HasSubstr("unknown kind \"h\" in \"h42\""));
  EXPECT_THAT(std::string(error(std::string("\x01", 1)).message()), HasSubstr("\"\\x01\""));
  EXPECT_LT(error(std::string(100'000, 'x')).message().size(), 500u);
}

TEST(ChangelogCodec, TaskRecordRoundTrips) {
  segments::v1::TaskRecord record;
  record.set_next_offset(81'735);
  record.set_clock_ms(1'790'000'000'000);
  record.set_state_hash(0xfedcba9876543210);
  for (uint32_t slot = 0; slot < 100; ++slot) (*record.mutable_members())[slot * 7919] = slot;
  const std::string value = FormatTaskRecord(record);
  const auto parsed = ParseTaskRecord(value);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  record.set_format(kTaskFormat);
  EXPECT_TRUE(MessageDifferencer::Equals(*parsed, record));
  EXPECT_EQ(FormatTaskRecord(*parsed), value);
}

// Stored records must stay readable, and mean what they meant.
TEST(ChangelogCodec, TaskRecordsOfFormat1StayReadable) {
  segments::v1::TaskRecord record;
  record.set_format(1);
  record.set_next_offset(81'735);
  record.set_clock_ms(1'790'000'000'000);
  record.set_next_change(42);
  record.set_replay_offset(81'000);
  record.set_newest_record_ms(1'790'000'001'000);
  record.set_state_hash(0xfedcba9876543210);
  record.set_users(1000);
  segments::v1::DecisionSettings& settings = *record.mutable_settings();
  settings.set_max_lateness_ms(7'200'000);
  settings.set_deadline_grace_ms(1000);
  settings.set_max_future_skew_ms(120'000);
  settings.set_max_facts(1024);
  settings.set_max_message_ids(4096);
  settings.set_time_zone_data_version("2024a");
  segments::v1::Counters& counters = *record.mutable_counters();
  counters.set_events(1);
  counters.set_late(2);
  counters.set_too_late(3);
  counters.set_duplicates(4);
  counters.set_dead_letters(5);
  counters.set_changes(6);
  (*record.mutable_members())[7] = 300;
  record.set_next_slot(8);
  segments::v1::GuardCount& guard = *record.add_guard_counts();
  guard.set_slot(7);
  guard.set_version(3);
  guard.set_minute(29'833'333);
  guard.set_changes(100);
  guard.set_over(true);

  const std::string golden = ReadGolden("task_record_1.hex");
  EXPECT_EQ(absl::BytesToHexString(golden), absl::BytesToHexString(FormatTaskRecord(record)));
  const auto parsed = ParseTaskRecord(golden);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*parsed, record));
}

TEST(ChangelogCodec, AppliedDefinitionsStayReadable) {
  segments::v1::AppliedDefinition definition;
  definition.set_slot(7);
  definition.mutable_segment()->set_id("cart");
  definition.mutable_segment()->set_version(3);
  definition.set_activation_offset(12);
  definition.set_activation_clock_ms(1'790'000'000'000);
  definition.set_deleting(true);
  definition.set_phase(segments::v1::AppliedDefinition::ACTIVATING);
  definition.set_history_offset(11);
  definition.set_paused(true);
  definition.set_paused_by_guard(true);
  definition.set_first(true);
  definition.set_untold(true);
  definition.set_changed_offset(13);

  // Of before the clock at a change was kept.
  const auto earlier = ParseAppliedDefinition(7, ReadGolden("applied_definition_1.hex"));
  ASSERT_TRUE(earlier.ok()) << earlier.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*earlier, definition));

  // And before changes had numbers.
  definition.set_changed_clock_ms(1'790'000'000'500);
  const auto later = ParseAppliedDefinition(7, ReadGolden("applied_definition_2.hex"));
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*later, definition));

  definition.set_change_number(5);
  const std::string golden = ReadGolden("applied_definition_3.hex");
  EXPECT_EQ(absl::BytesToHexString(golden),
            absl::BytesToHexString(FormatAppliedDefinition(definition)));
  const auto parsed = ParseAppliedDefinition(7, golden);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*parsed, definition));
}

TEST(ChangelogCodec, ATaskRecordOfALaterFormatIsRefused) {
  segments::v1::TaskRecord record;
  record.set_format(kTaskFormat + 1);
  const auto parsed = ParseTaskRecord(record.SerializeAsString());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("format 2"));
  EXPECT_EQ(ParseTaskRecord("\xff").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseTaskRecord("").status().code(), absl::StatusCode::kDataLoss);
}

TEST(ChangelogCodec, AppliedDefinitionRoundTrips) {
  segments::v1::AppliedDefinition definition;
  definition.set_slot(7);
  definition.set_activation_offset(12);
  definition.set_activation_clock_ms(-5);
  const auto parsed = ParseAppliedDefinition(7, FormatAppliedDefinition(definition));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(MessageDifferencer::Equals(*parsed, definition));
  EXPECT_EQ(ParseAppliedDefinition(8, FormatAppliedDefinition(definition)).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseAppliedDefinition(8, "\xff").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace segmentd
