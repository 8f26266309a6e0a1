// What people read: colours where there is a terminal for them, tables, and JSON where it is asked
// for.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "app/exit_status.h"

namespace google::protobuf {
class Timestamp;
}

namespace segmentd {

bool IsTerminal(FILE* file);
// The text; where it is not UTF-8, such as a file's name, with escapes for all beyond ASCII.
std::string Printable(std::string_view text);
// To standard output.
void Print(std::string_view text);

enum class Color : uint8_t { kNone, kBold, kDim, kRed, kGreen, kYellow, kCyan };
// The text in that colour, if `file` is a terminal that shows colours and NO_COLOR is not set.
std::string Paint(std::string_view text, Color color, FILE* file);

// Columns as wide as their widest cell, two spaces between them.
class Table {
 public:
  // Printed in bold; no heads, no first line.
  explicit Table(std::vector<std::string> heads = {});
  struct Cell {
    std::string text;
    Color color = Color::kNone;
    bool right = false;
  };
  void add(std::vector<Cell> row);
  bool empty() const { return rows_.empty(); }
  void print(FILE* file) const;

 private:
  std::vector<std::string> heads_;
  std::vector<std::vector<Cell>> rows_;
};

// "1,234,567"
std::string Grouped(int64_t number);
// "1 event", "3 events"
std::string Counted(int64_t number, std::string_view noun);

// "2026-11-22T09:30:00.000Z"
std::string Moment(const google::protobuf::Timestamp& timestamp);

void AppendJsonString(std::string_view text, std::string* out);

// One JSON object, field by field.
class JsonObject {
 public:
  JsonObject& text(std::string_view name, std::string_view value);
  JsonObject& number(std::string_view name, int64_t value);
  JsonObject& boolean(std::string_view name, bool value);
  // `json` is JSON already.
  JsonObject& raw(std::string_view name, std::string_view json);
  std::string str() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
};
std::string JsonArray(const std::vector<std::string>& items);

// All of a file or, for "-", of standard input; at most `limit` bytes.
absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t limit);

// "segctl: <message>" on standard error; the exit status that goes with the kind of error.
ExitStatus Complain(const absl::Status& status);
ExitStatus Complain(ExitStatus exit, std::string_view message);

}  // namespace segmentd
