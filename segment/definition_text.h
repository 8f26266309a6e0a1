// Definition files: YAML (1.2 core schema) or JSON text to segments, checked for shape before it is mapped to Protobuf.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"

namespace segmentd {

// One document of a file.
struct SegmentDocument {
  segments::v1::Segment segment;
  // Line of the document's start, from 1.
  int line = 1;
  // Violations of shape: unknown fields, nulls, empty lists and names, wrong types, quoted numbers where a number is meant.
  std::vector<Violation> violations;
};

// One or more YAML documents (`---` between them), or JSON values. An error only where the text is no YAML or JSON at all, with line and column.
// Fields that only the server sets (version, status, times) are read and ignored; `etag` is kept.
absl::StatusOr<std::vector<SegmentDocument>> ReadSegmentDocuments(std::string_view text);

// A JSON object of the same shape (a record of the definitions topic, written by SegmentToJson).
absl::StatusOr<segments::v1::Segment> SegmentFromJson(std::string_view json);

// Compact JSON with the proto field names.
std::string SegmentToJson(const segments::v1::Segment& segment);

// Block YAML of what people write (no output-only fields), in the gallery's style; reading it gives the same segment.
std::string SegmentToYaml(const segments::v1::Segment& segment);

}  // namespace segmentd
