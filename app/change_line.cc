#include "app/change_line.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

#include "app/console.h"
#include "proto/segments/v1/change.pb.h"
#include "proto/segments/v1/definition.pb.h"
#include "segment/change.h"
#include "segment/timestamp.h"
#include "stream/change_codec.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

Color ActionColor(pb::Action action) {
  switch (action) {
    case pb::ADD:
      return Color::kGreen;
    case pb::REMOVE:
      return Color::kRed;
    default:
      return Color::kCyan;
  }
}

// "2026-11-22 09:30:00.000"
std::string Short(const google::protobuf::Timestamp& timestamp) {
  std::string text = Moment(timestamp);
  text.pop_back();
  text[10] = ' ';
  return text;
}

}  // namespace

std::string ChangeLine(const pb::MembershipChange& change, FILE* file) {
  std::string line = absl::StrCat(
      Short(change.at()), "  ",
      Paint(absl::StrFormat("%-9s", pb::Action_Name(change.action())), ActionColor(change.action()),
            file),
      " ", absl::StrFormat("%-16s", change.user_id()), " ",
      Paint(absl::StrFormat("%-32s", change.segment_name()), Color::kBold, file), " ",
      absl::AsciiStrToLower(absl::StrReplaceAll(pb::Reason_Name(change.reason()), {{"_", " "}})));
  if (change.has_cause()) {
    std::string at = Short(change.cause().at());
    // Of the same day only the time of day.
    const std::string own = Short(change.at());
    if (at == own) {
      at.clear();
    } else if (at.substr(0, 10) == own.substr(0, 10)) {
      at = at.substr(11);
    }
    absl::StrAppend(&line,
                    Paint(absl::StrCat(": ", change.cause().event(), at.empty() ? "" : " at ", at),
                          Color::kDim, file));
  }
  line.push_back('\n');
  return line;
}

std::string ChangeJson(const pb::MembershipChange& change) {
  pb::Segment segment;
  segment.set_id(change.segment_id());
  segment.set_name(change.segment_name());
  segment.set_version(change.segment_version());
  if (!change.customer_segment_id().empty()) {
    segment.mutable_api()->set_customer_segment_id(change.customer_segment_id());
  }
  const Change found = {.action = change.action(),
                        .slot = 0,
                        .at = TimeOf(change.at()),
                        .reason = change.reason(),
                        .cause_event = change.cause().event(),
                        .cause_at = TimeOf(change.cause().at()),
                        .cause_message_id = change.cause().message_id()};
  const ChangeId id = ParseChangeId(change.change_id()).value_or(ChangeId());
  std::string json;
  ChangeEncoder(ChangeFormat::kJson, id.topic, id.partition)
      .append(found, segment, change.user_id(), id.number, &json);
  return json;
}

}  // namespace segmentd
