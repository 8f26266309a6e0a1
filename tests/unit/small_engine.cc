#include "tests/unit/small_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "segment/definition_text.h"

namespace segmentd {
namespace {

using property::Item;
using property::Told;

std::string TimeOfDay(Time time) {
  std::string text = FormatTimestamp(time).substr(11, 12);
  if (text.ends_with(".000")) text.resize(8);
  if (text.ends_with(":00") && text.size() == 8) text.resize(5);
  return text;
}

std::string Text(const Told& told) {
  std::string text = told.slot == 0 ? "" : absl::StrCat(told.slot, ": ");
  absl::StrAppend(&text, segments::v1::Action_Name(told.action), " ", TimeOfDay(told.at), " ",
                  segments::v1::Reason_Name(told.reason));
  if (!told.cause_event.empty()) {
    absl::StrAppend(&text, " by ", told.cause_event, " of ", TimeOfDay(told.cause_at));
  }
  if (!told.cause_message_id.empty()) absl::StrAppend(&text, " id ", told.cause_message_id);
  return text;
}

}  // namespace

Time At(std::string_view time_of_day) {
  Time time;
  const std::string text =
      absl::StrCat("2026-11-22T", absl::string_view(time_of_day.data(), time_of_day.size()), "Z");
  EXPECT_TRUE(ParseTimestamp(text, &time)) << text;
  return time;
}

segments::v1::Segment FromYaml(std::string_view yaml) {
  const std::vector<ActiveSegment> one = ActiveFromYaml(yaml);
  EXPECT_EQ(one.size(), 1u);
  return one.empty() ? segments::v1::Segment() : one[0].segment;
}

std::vector<ActiveSegment> ActiveFromYaml(std::string_view yaml) {
  const auto documents = ReadSegmentDocuments(yaml);
  EXPECT_TRUE(documents.ok()) << documents.status();
  std::vector<ActiveSegment> segments;
  if (!documents.ok()) return segments;
  for (const SegmentDocument& document : *documents) {
    EXPECT_TRUE(document.violations.empty()) << document.violations[0].message;
    const auto slot = static_cast<Slot>(segments.size());
    segments.push_back({.slot = slot, .segment = document.segment});
    segments.back().segment.set_version(1);
  }
  return segments;
}

SmallEngine::SmallEngine(std::string_view yaml, Settings settings)
    : playback_(settings, 1, /*in_portions=*/false) {
  for (const ActiveSegment& active : ActiveFromYaml(yaml)) {
    step({.kind = Item::Kind::kDefine, .slot = active.slot, .segment = active.segment});
  }
}

std::vector<std::string> SmallEngine::step(const Item& item) {
  const auto step = playback_.step(item);
  if (step.outcome.has_value()) outcome_ = *step.outcome;
  std::vector<std::string> told;
  for (const Told& one : step.told[0]) told.push_back(Text(one));
  return told;
}

std::vector<std::string> SmallEngine::send(const Sent& sent) {
  Item item{.kind = Item::Kind::kRecord};
  if (!sent.clock.empty()) item.clock = At(sent.clock);
  item.record.name = sent.name;
  item.record.time = At(sent.time);
  item.record.record_time = At(sent.record_time.empty() ? sent.time : sent.record_time);
  item.record.message_id = sent.message_id;
  item.record.properties = sent.properties;
  item.record.profile = sent.profile;
  return step(item);
}

std::vector<std::string> SmallEngine::clock(std::string_view time) {
  return step({.kind = Item::Kind::kAdvance, .clock = At(time)});
}

std::vector<std::string> SmallEngine::define(Slot slot, std::string_view yaml) {
  return step({.kind = Item::Kind::kDefine, .slot = slot, .segment = FromYaml(yaml)});
}

std::vector<std::string> SmallEngine::erase(Slot slot) {
  return step({.kind = Item::Kind::kDelete, .slot = slot});
}

segments::v1::Explanation SmallEngine::explain(Slot slot) const {
  return playback_.engine().explain(slot, playback_.clock(), user());
}

}  // namespace segmentd
