#include "app/segment_text.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

#include "segment/absl_view.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string Word(std::string_view enum_name, std::string_view prefix) {
  return absl::AsciiStrToLower(
      AbslView(enum_name.starts_with(prefix) ? enum_name.substr(prefix.size()) : enum_name));
}

}  // namespace

std::string StatusWord(const pb::Segment& segment) {
  return Word(pb::SegmentStatus_Name(segment.status()), "SEGMENT_STATUS_");
}

std::string StatusText(const pb::Segment& segment) {
  std::string text = StatusWord(segment);
  if (segment.status() == pb::SEGMENT_STATUS_BUILDING) {
    absl::StrAppendFormat(&text, " %.0f %%", std::floor(segment.build_progress() * 100));
  }
  return text;
}

Color StatusColor(const pb::Segment& segment) {
  switch (segment.status()) {
    case pb::SEGMENT_STATUS_ACTIVE:
      return Color::kGreen;
    case pb::SEGMENT_STATUS_INVALID:
    case pb::SEGMENT_STATUS_DELETING:
    case pb::SEGMENT_STATUS_PAUSED:
      return Color::kRed;
    default:
      return Color::kYellow;
  }
}

std::string Written(pb::Segment segment) {
  segment.clear_etag();
  return SegmentToYaml(segment);
}

std::string AsComment(std::string_view text) {
  return absl::StrCat("# ", absl::StrReplaceAll(AbslView(text), {{"\n", "\n# "}}), "\n");
}

}  // namespace segmentd
