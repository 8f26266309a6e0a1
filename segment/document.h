// The generic tree between text (YAML or JSON) and messages. It keeps what a schema must judge: the
// difference between a number and a quoted number, nulls, and keys that stand twice.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace segmentd {

struct Document {
  enum class Kind { kNull, kBoolean, kNumber, kString, kList, kMap };
  struct Field;

  Kind kind = Kind::kNull;
  bool boolean = false;
  // Infinite or NaN when the text says so, or names more than a double holds.
  double number = 0;
  std::string text;
  std::vector<Document> items;
  // In the order of the text.
  std::vector<Field> fields;
  // From 1; 0 when there is no text behind it.
  int line = 0;

  static Document Boolean(bool boolean);
  static Document Number(double number);
  static Document String(std::string_view text);
};

struct Document::Field {
  std::string key;
  Document value;
};

inline constexpr size_t kMaxDocumentBytes = 1 << 20;
inline constexpr int kMaxDocumentDepth = 32;

// JSON values one after another, or, when it is no JSON, documents of YAML in the 1.2 core schema;
// empty documents are left out. INVALID_ARGUMENT names line and column. Aliases are refused: no
// document needs to be larger than its text.
absl::StatusOr<std::vector<Document>> ReadDocuments(std::string_view text);

// JSON values one after another.
absl::StatusOr<std::vector<Document>> ReadJson(std::string_view text);

// Numbers are finite.
std::string ToJson(const Document& document);

// Block style, but maps and lists that fit a line of 100 characters stand in one. Ends with a
// newline.
std::string ToYaml(const Document& document);

}  // namespace segmentd
