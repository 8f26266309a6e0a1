// Definition files: YAML (1.2 core schema) or JSON text to segments, checked for shape before it is
// mapped to Protobuf.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"

namespace segmentd {

// What the server sets and a reader of files leaves out; `etag` is the one that is sent back.
bool IsOutputOnly(const google::protobuf::FieldDescriptor* field);

// One document of a file.
struct SegmentDocument {
  segments::v1::Segment segment;
  // Line of the document's start, from 1.
  int line = 1;
  // Violations of shape: unknown fields, keys that stand twice, nulls, empty lists and names, wrong
  // types, quoted numbers where a number is meant. At most 100; their messages end with the line.
  std::vector<Violation> violations;
};

// One or more YAML documents (`---` between them; empty ones are left out), or JSON values. An
// error only where the text is no YAML or JSON at all, with line and column, or over 1 MiB, or has
// aliases. Fields that only the server sets (version, status, times) are checked, but not taken
// over; `etag` is kept.
absl::StatusOr<std::vector<SegmentDocument>> ReadSegmentDocuments(std::string_view text);

// A JSON object of the same shape (a record of the definitions topic, written by SegmentToJson),
// with what the server sets.
absl::StatusOr<segments::v1::Segment> SegmentFromJson(std::string_view json);

// Compact JSON with the proto field names; 64-bit integers are numbers.
std::string SegmentToJson(const segments::v1::Segment& segment);

// Block YAML of what people write (no output-only fields, no etag); what fits a line stands in one.
// Reading it gives the same segment.
std::string SegmentToYaml(const segments::v1::Segment& segment);

}  // namespace segmentd
