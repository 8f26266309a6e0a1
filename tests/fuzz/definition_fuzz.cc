// Whatever a definition file holds: it is read or refused, what passes the check can be compiled,
// and what was read is written so that reading it gives the same.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "segment/predicate.h"
#include "segment/value.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

void Test(const google::protobuf::RepeatedPtrField<pb::PropertyCondition>& conditions,
          std::string_view text) {
  for (const pb::PropertyCondition& condition : conditions) {
    const auto predicate = Predicate::Compile(condition);
    Require(predicate.ok(), "a checked condition compiles");
    const Value items[] = {Value::String(text.substr(0, 300)), Value::Number(7),
                           Value::Boolean(true)};
    const Time now = Time::Millis(1'790'000'000'000);
    bool any = false;
    for (const Value& item : items) any |= predicate->holds(item, now);
    if (!condition.has_exists()) {
      Require(predicate->holds(Value::List(items), now) == any,
              "a list holds when an element does");
      Require(!predicate->holds(Value(), now), "a missing value never holds");
    }
    for (const Value& item : items) {
      if (predicate->equal_to().empty() || !predicate->holds(item, now)) continue;
      bool found = false;
      for (const uint64_t fingerprint : predicate->equal_to()) {
        found |= fingerprint == ValueFingerprint(item);
      }
      Require(found, "a value that meets an equality has one of its fingerprints");
    }
  }
}

void Test(const google::protobuf::RepeatedPtrField<pb::EventCondition>& events,
          std::string_view text) {
  for (const pb::EventCondition& event : events) Test(event.where(), text);
}

}  // namespace
}  // namespace segmentd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace segmentd;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto documents = ReadSegmentDocuments(text);
  if (!documents.ok()) return 0;
  for (const SegmentDocument& document : *documents) {
    if (!document.violations.empty()) continue;
    const auto violations = CheckSegment(document.segment);

    const auto from_json = SegmentFromJson(SegmentToJson(document.segment));
    Require(
        from_json.ok() && from_json->SerializeAsString() == document.segment.SerializeAsString(),
        "JSON gives the segment back");
    pb::Segment written = document.segment;
    written.clear_etag();
    if (written.ByteSizeLong() > 0) {
      const auto from_yaml = ReadSegmentDocuments(SegmentToYaml(written));
      Require(from_yaml.ok() && from_yaml->size() == 1 && (*from_yaml)[0].violations.empty() &&
                  (*from_yaml)[0].segment.SerializeAsString() == written.SerializeAsString(),
              "YAML gives the segment back");
    }
    if (!violations.empty()) continue;
    const pb::Live& live = document.segment.live();
    Test(live.actions().any_of(), text);
    Test(live.inaction().trigger().where(), text);
    Test(live.inaction().does_not_do(), text);
    Test(live.exit().on(), text);
  }
  return 0;
}
