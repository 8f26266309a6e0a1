#include "app/console.h"

#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"
#include "segment/time.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

bool ShowsColors(FILE* file) {
  if (!IsTerminal(file)) return false;
  const char* no_color = getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* terminal = getenv("TERM");
  return terminal == nullptr || std::string_view(terminal) != "dumb";
}

// In characters rather than bytes.
size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

bool IsTerminal(FILE* file) {
  return isatty(fileno(file)) == 1;
}

std::string Printable(std::string_view text) {
  std::string shown;
  if (simdjson::validate_utf8(text.data(), text.size())) return shown.append(text);
  for (const char c : text) {
    if ((c & 0x80) == 0) {
      shown.push_back(c);
    } else {
      absl::StrAppend(&shown, "\\x", absl::Hex(static_cast<unsigned char>(c)));
    }
  }
  return shown;
}

void Print(std::string_view text) {
  fwrite(text.data(), 1, text.size(), stdout);
}

std::string Paint(std::string_view text, Color color, FILE* file) {
  static constexpr std::array<std::string_view, 7> kCodes = {"", "1", "2", "31", "32", "33", "36"};
  if (color == Color::kNone || !ShowsColors(file)) return std::string(text);
  return absl::StrCat("\x1b[", AbslView(kCodes[static_cast<size_t>(color)]), "m", AbslView(text),
                      "\x1b[0m");
}

Table::Table(std::vector<std::string> heads) : heads_(std::move(heads)) {}

void Table::add(std::vector<Cell> row) {
  rows_.push_back(std::move(row));
}

void Table::print(FILE* file) const {
  std::vector<size_t> widths;
  const auto widen = [&widths](size_t column, std::string_view text) {
    if (column >= widths.size()) widths.resize(column + 1);
    widths[column] = std::max(widths[column], Width(text));
  };
  for (size_t i = 0; i < heads_.size(); ++i) widen(i, heads_[i]);
  for (const std::vector<Cell>& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widen(i, row[i].text);
  }
  const auto line = [&](const std::vector<Cell>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string space(widths[i] - Width(cells[i].text), ' ');
      const std::string painted = Paint(cells[i].text, cells[i].color, file);
      const bool last = i + 1 == cells.size();
      absl::StrAppend(&text, cells[i].right ? space : "", painted,
                      cells[i].right || last ? "" : space, last ? "\n" : "  ");
    }
    fwrite(text.data(), 1, text.size(), file);
  };
  if (!heads_.empty()) {
    std::vector<Cell> cells;
    for (size_t i = 0; i < heads_.size(); ++i) {
      const bool right = !rows_.empty() && i < rows_[0].size() && rows_[0][i].right;
      cells.push_back({heads_[i], Color::kBold, right});
    }
    line(cells);
  }
  for (const std::vector<Cell>& row : rows_) line(row);
}

std::string Grouped(int64_t number) {
  std::string digits = absl::StrCat(number);
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

std::string Counted(int64_t number, std::string_view noun) {
  return absl::StrCat(Grouped(number), " ", AbslView(noun), number == 1 ? "" : "s");
}

std::string Moment(const google::protobuf::Timestamp& timestamp) {
  return FormatTimestamp(TimeOf(timestamp));
}

void AppendJsonString(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    switch (c) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out->append("\\u00");
          out->push_back(kHex[c >> 4]);
          out->push_back(kHex[c & 15]);
        } else {
          out->push_back(c);
        }
    }
  }
  out->push_back('"');
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  if (text_.size() > 1) text_.push_back(',');
  AppendJsonString(name, &text_);
  absl::StrAppend(&text_, ":", AbslView(json));
  return *this;
}

JsonObject& JsonObject::text(std::string_view name, std::string_view value) {
  std::string json;
  AppendJsonString(value, &json);
  return raw(name, json);
}

JsonObject& JsonObject::number(std::string_view name, int64_t value) {
  return raw(name, absl::StrCat(value));
}

JsonObject& JsonObject::boolean(std::string_view name, bool value) {
  return raw(name, value ? "true" : "false");
}

std::string JsonArray(const std::vector<std::string>& items) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) absl::StrAppend(&text, i > 0 ? "," : "", items[i]);
  return text + "]";
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t limit) {
  FILE* file = path == "-" ? stdin : fopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError(absl::StrCat(path, ": ", strerror(errno)));
  std::string text;
  std::array<char, 16384> part;
  size_t got = 0;
  while (text.size() <= limit && (got = fread(part.data(), 1, part.size(), file)) > 0) {
    text.append(part.data(), got);
  }
  const bool failed = ferror(file) != 0;
  const int error = errno;
  if (file != stdin) fclose(file);
  if (failed) return absl::NotFoundError(absl::StrCat(path, ": ", strerror(error)));
  if (text.size() > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", limit >> 20, " MiB; split it"));
  }
  return text;
}

ExitStatus Complain(ExitStatus exit, std::string_view message) {
  const std::string line =
      absl::StrCat(Paint("segctl:", Color::kRed, stderr), " ", Printable(message), "\n");
  fwrite(line.data(), 1, line.size(), stderr);
  return exit;
}

ExitStatus Complain(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kDone;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDataLoss:
      return Complain(kUnavailable, StdView(status.message()));
    default:
      return Complain(kWrongUse, StdView(status.message()));
  }
}

}  // namespace segmentd
