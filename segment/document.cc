#include "segment/document.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "simdjson.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr size_t kMaxLine = 100;

Document Make(Document::Kind kind, int line) {
  Document document;
  document.kind = kind;
  document.line = line;
  return document;
}

// ---- Positions ----

struct Position {
  int line = 1;
  int column = 1;
};

Position PositionOf(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t newline = before.rfind('\n');
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(offset - (newline == std::string_view::npos ? 0 : newline + 1)) + 1};
}

absl::Status Unreadable(Position position, std::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", position.line, ", column ", position.column, ": ", AbslView(problem)));
}

absl::Status CheckText(std::string_view text) {
  if (text.size() > kMaxDocumentBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", text.size(), " bytes; at most ",
                                                   kMaxDocumentBytes,
                                                   " are read at once; split it"));
  }
  // yaml-cpp would take some of them for the end of the text.
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') ||
           c == 0x7F;
  });
  if (control != text.end()) {
    return Unreadable(PositionOf(text, static_cast<size_t>(control - text.begin())),
                      "a control character is not allowed");
  }
  if (!simdjson::validate_utf8(text.data(), text.size())) {
    return absl::InvalidArgumentError("the text is not UTF-8; save it in that encoding");
  }
  return absl::OkStatus();
}

// ---- YAML ----

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

bool AllOf(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

std::optional<double> Radix(std::string_view digits, int radix) {
  constexpr std::string_view kDigits = "0123456789abcdefABCDEF";
  if (!AllOf(digits, kDigits.substr(0, radix == 8 ? 8 : kDigits.size()))) return std::nullopt;
  double number = 0;
  for (const char c : digits) {
    number = number * radix + (IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return number;
}

// A number of the core schema: [-+]?[0-9]+, 0o[0-7]+, 0x[0-9a-fA-F]+,
// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?,
// [-+]?\.(inf|Inf|INF), \.(nan|NaN|NAN).
std::optional<double> CoreNumber(std::string_view text) {
  if (text.substr(0, 2) == "0o") return Radix(text.substr(2), 8);
  if (text.substr(0, 2) == "0x") return Radix(text.substr(2), 16);
  if (text == ".nan" || text == ".NaN" || text == ".NAN") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
  if (rest == ".inf" || rest == ".Inf" || rest == ".INF") {
    return (negative ? -1 : 1) * std::numeric_limits<double>::infinity();
  }
  const auto digits = [&rest] {
    size_t count = 0;
    while (!rest.empty() && IsDigit(rest.front())) {
      rest.remove_prefix(1);
      ++count;
    }
    return count;
  };
  const size_t whole = digits();
  size_t fraction = 0;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    fraction = digits();
  }
  if (whole + fraction == 0) return std::nullopt;
  if (!rest.empty() && (rest.front() == 'e' || rest.front() == 'E')) {
    rest.remove_prefix(1);
    if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
    if (digits() == 0) return std::nullopt;
  }
  double number = 0;
  if (!rest.empty() || !absl::SimpleAtod(AbslView(text), &number)) return std::nullopt;
  return number;
}

// A plain scalar by the core schema.
Document Resolve(std::string_view text, int line) {
  using Kind = Document::Kind;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return Make(Kind::kNull, line);
  }
  const bool is_true = text == "true" || text == "True" || text == "TRUE";
  if (is_true || text == "false" || text == "False" || text == "FALSE") {
    Document document = Make(Kind::kBoolean, line);
    document.boolean = is_true;
    return document;
  }
  if (const auto number = CoreNumber(text)) {
    Document document = Make(Kind::kNumber, line);
    document.number = *number;
    return document;
  }
  Document document = Make(Kind::kString, line);
  document.text = text;
  return document;
}

class YamlReader : public YAML::EventHandler {
 public:
  explicit YamlReader(std::string_view text) : text_(text) {}

  std::vector<Document> take() { return std::move(documents_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    // yaml-cpp takes whatever is left over for a document, and some of it for ever.
    if (!first_ && !may_start(static_cast<size_t>(mark.pos))) {
      refuse(mark, "the document before ends here; write --- between documents");
    }
    first_ = false;
    open_.clear();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (open_.empty()) return;
    add(mark, Make(Document::Kind::kNull, line(mark)), "");
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not allowed; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    // yaml-cpp makes single bytes of \N and \_.
    if (!simdjson::validate_utf8(text)) {
      refuse(mark, "an escape here gives no UTF-8; write \\u with four digits");
    }
    add(mark, scalar(mark, tag, text), text);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag, "tag:yaml.org,2002:seq");
    open(mark, Document::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag, "tag:yaml.org,2002:map");
    open(mark, Document::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Document document;
    // Of the field whose value comes next.
    std::optional<std::string> key;
  };

  static int line(const YAML::Mark& mark) { return mark.line + 1; }

  // Behind "---", or behind a "..." with comments and empty lines after it.
  bool may_start(size_t at) const {
    if (at >= text_.size() || text_.substr(at, 3) == "---") return true;
    std::string_view before = text_.substr(0, at);
    while (!before.empty()) {
      before.remove_suffix(1);
      const size_t start = std::min(before.rfind('\n') + 1, before.size());
      const std::string_view row = before.substr(start);
      if (row.substr(0, 3) == "...") return true;
      const size_t shown = row.find_first_not_of(" \t\r");
      if (shown != std::string_view::npos && row[shown] != '#' && row[shown] != '%') return false;
      before = before.substr(0, start);
    }
    return false;
  }

  // Thrown through yaml-cpp, as it does itself; ReadYaml catches it.
  [[noreturn]] static void refuse(const YAML::Mark& mark, const std::string& problem) {
    throw YAML::ParserException(mark, problem);
  }

  static void check_tag(const YAML::Mark& mark, const std::string& tag, std::string_view allowed) {
    if (tag.empty() || tag == "?" || tag == "!" || tag == allowed) return;
    refuse(mark, absl::StrCat("the tag ", tag, " is not allowed"));
  }

  static Document scalar(const YAML::Mark& mark, const std::string& tag, const std::string& text) {
    if (tag == "!" || tag == "tag:yaml.org,2002:str") {
      Document document = Make(Document::Kind::kString, line(mark));
      document.text = text;
      return document;
    }
    Document document = Resolve(text, line(mark));
    using Kind = Document::Kind;
    const bool right = tag == "?" || tag.empty() ||
                       (tag == "tag:yaml.org,2002:null" && document.kind == Kind::kNull) ||
                       (tag == "tag:yaml.org,2002:bool" && document.kind == Kind::kBoolean) ||
                       ((tag == "tag:yaml.org,2002:int" || tag == "tag:yaml.org,2002:float") &&
                        document.kind == Kind::kNumber);
    if (!right) refuse(mark, absl::StrCat("the tag ", tag, " is not allowed here"));
    return document;
  }

  bool wants_key() const {
    return open_.back().document.kind == Document::Kind::kMap && !open_.back().key.has_value();
  }

  // `text` is the scalar as it is written, for keys.
  void add(const YAML::Mark& mark, Document document, std::string_view text) {
    if (open_.empty()) {
      documents_.push_back(std::move(document));
      return;
    }
    if (wants_key()) {
      if (document.kind == Document::Kind::kNull && text.empty()) refuse(mark, "a key is empty");
      open_.back().key = std::string(text);
      return;
    }
    Open& parent = open_.back();
    if (parent.document.kind == Document::Kind::kList) {
      parent.document.items.push_back(std::move(document));
    } else {
      parent.document.fields.push_back({std::move(*parent.key), std::move(document)});
      parent.key.reset();
    }
  }

  void open(const YAML::Mark& mark, Document::Kind kind) {
    if (!open_.empty() && wants_key()) refuse(mark, "a key must be a name");
    if (open_.size() == kMaxDocumentDepth) {
      refuse(mark, absl::StrCat("nested deeper than ", kMaxDocumentDepth, " levels"));
    }
    open_.push_back({Make(kind, line(mark)), std::nullopt});
  }

  void close() {
    Document done = std::move(open_.back().document);
    open_.pop_back();
    add(YAML::Mark(), std::move(done), "");
  }

  const std::string_view text_;
  bool first_ = true;
  std::vector<Open> open_;
  std::vector<Document> documents_;
};

absl::StatusOr<std::vector<Document>> ReadYaml(std::string_view text) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlReader reader(text);
    while (parser.HandleNextDocument(reader)) {
    }
    return reader.take();
  } catch (const YAML::Exception& error) {
    return Unreadable({error.mark.line + 1, error.mark.column + 1}, error.msg);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("the text is no YAML: ", error.what()));
  }
}

// ---- JSON ----

namespace ondemand = simdjson::ondemand;

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text), padded_(text.data(), text.size()) {}

  absl::StatusOr<std::vector<Document>> read() {
    std::vector<Document> documents;
    ondemand::parser parser;
    size_t begin = skip_space(0);
    do {
      if (begin == text_.size() || (text_[begin] != '{' && text_[begin] != '[')) {
        return Unreadable(PositionOf(text_, begin), "a JSON object must stand here");
      }
      const size_t end = end_of_value(begin);
      if (end == text_.size() + 1) {
        return Unreadable(PositionOf(text_, begin), "the JSON that starts here has no end");
      }
      ondemand::document root;
      const simdjson::padded_string_view part(padded_.data() + begin, end - begin,
                                              padded_.size() + simdjson::SIMDJSON_PADDING - begin);
      if (const auto error = parser.iterate(part).get(root)) return bad(error, begin);
      ondemand::value value;
      if (const auto error = root.get_value().get(value)) return bad(error, begin);
      Document& document = documents.emplace_back();
      if (const auto error = read(value, 1, &document)) {
        const char* at = nullptr;
        return bad(error, root.current_location().get(at) ? end : offset(at));
      }
      begin = skip_space(end);
    } while (begin != text_.size());
    return documents;
  }

 private:
  size_t offset(const char* at) const {
    const char* const start = padded_.data();
    return at < start || at > start + text_.size() ? text_.size() : static_cast<size_t>(at - start);
  }

  size_t skip_space(size_t at) const {
    return std::min(text_.find_first_not_of(" \t\r\n", at), text_.size());
  }

  // Behind the bracket that closes the one at `begin`, or past the end of the text. simdjson then
  // says whether it is a value: its own streams of values may loop for ever on what is none.
  size_t end_of_value(size_t begin) const {
    int depth = 0;
    bool in_string = false;
    for (size_t i = begin; i < text_.size(); ++i) {
      const char c = text_[i];
      if (in_string) {
        if (c == '\\') ++i;
        in_string = c != '"';
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth == 0) {
        return i + 1;
      }
    }
    return text_.size() + 1;
  }

  absl::Status bad(simdjson::error_code error, size_t at) const {
    if (too_deep_) {
      return Unreadable(PositionOf(text_, at),
                        absl::StrCat("nested deeper than ", kMaxDocumentDepth, " levels"));
    }
    return Unreadable(PositionOf(text_, at), simdjson::error_message(error));
  }

  // Locations ascend, so that the whole costs one pass.
  int line(ondemand::value& value) {
    const char* at = nullptr;
    if (value.current_location().get(at)) return line_;
    const size_t here = offset(at);
    for (; counted_to_ < here; ++counted_to_) line_ += text_[counted_to_] == '\n';
    return line_;
  }

  simdjson::error_code read(ondemand::value value, int depth, Document* out) {
    if (depth > kMaxDocumentDepth) {
      too_deep_ = true;
      return simdjson::DEPTH_ERROR;
    }
    out->line = line(value);
    ondemand::json_type type;
    if (const auto error = value.type().get(type)) return error;
    switch (type) {
      case ondemand::json_type::array: {
        out->kind = Document::Kind::kList;
        ondemand::array array;
        if (const auto error = value.get_array().get(array)) return error;
        for (auto item : array) {
          ondemand::value element;
          if (const auto error = item.get(element)) return error;
          if (const auto error = read(element, depth + 1, &out->items.emplace_back())) return error;
        }
        return simdjson::SUCCESS;
      }
      case ondemand::json_type::object: {
        out->kind = Document::Kind::kMap;
        ondemand::object object;
        if (const auto error = value.get_object().get(object)) return error;
        for (auto member : object) {
          std::string_view key;
          if (const auto error = member.unescaped_key().get(key)) return error;
          Document::Field& field = out->fields.emplace_back();
          field.key = key;
          ondemand::value element;
          if (const auto error = member.value().get(element)) return error;
          if (const auto error = read(element, depth + 1, &field.value)) return error;
        }
        return simdjson::SUCCESS;
      }
      case ondemand::json_type::string: {
        out->kind = Document::Kind::kString;
        std::string_view text;
        if (const auto error = value.get_string().get(text)) return error;
        out->text = text;
        return simdjson::SUCCESS;
      }
      case ondemand::json_type::number:
        out->kind = Document::Kind::kNumber;
        return value.get_double().get(out->number);
      case ondemand::json_type::boolean:
        out->kind = Document::Kind::kBoolean;
        return value.get_bool().get(out->boolean);
      case ondemand::json_type::null:
        // is_null() takes every word with an n for one; the token says.
        if (std::string_view token = value.raw_json_token();
            token.substr(0, 4) != "null" ||
            token.find_first_not_of(" \t\r\n", 4) != std::string_view::npos) {
          return simdjson::N_ATOM_ERROR;
        }
        out->kind = Document::Kind::kNull;
        return value.is_null() ? simdjson::SUCCESS : simdjson::N_ATOM_ERROR;
    }
    return simdjson::TAPE_ERROR;
  }

  const std::string_view text_;
  const simdjson::padded_string padded_;
  size_t counted_to_ = 0;
  int line_ = 1;
  bool too_deep_ = false;
};

// ---- Writing ----

void AppendNumber(double number, std::string* out) {
  constexpr double kExact = 9007199254740992.0;
  if (number == std::floor(number) && std::abs(number) <= kExact) {
    absl::StrAppend(out, static_cast<int64_t>(number));
    return;
  }
  char digits[32];
  const auto end = std::to_chars(digits, std::end(digits), number).ptr;
  out->append(digits, end);
}

// In double quotes; what this escapes, JSON and YAML read alike.
void AppendQuoted(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (byte < 0x20 || byte == 0x7F) {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void AppendJson(const Document& document, std::string* out) {
  switch (document.kind) {
    case Document::Kind::kNull:
      out->append("null");
      return;
    case Document::Kind::kBoolean:
      out->append(document.boolean ? "true" : "false");
      return;
    case Document::Kind::kNumber:
      AppendNumber(document.number, out);
      return;
    case Document::Kind::kString:
      AppendQuoted(document.text, out);
      return;
    case Document::Kind::kList:
      out->push_back('[');
      for (const Document& item : document.items) {
        if (&item != &document.items.front()) out->push_back(',');
        AppendJson(item, out);
      }
      out->push_back(']');
      return;
    case Document::Kind::kMap:
      out->push_back('{');
      for (const Document::Field& field : document.fields) {
        if (&field != &document.fields.front()) out->push_back(',');
        AppendQuoted(field.key, out);
        out->push_back(':');
        AppendJson(field.value, out);
      }
      out->push_back('}');
      return;
  }
}

// Whether a string may stand without quotes, inside of [] and {} too, and readers of YAML 1.1 take
// it for a string as well.
bool IsPlain(std::string_view text) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
  };
  const auto is_word = [&](char c) { return is_letter(c) || IsDigit(c) || c == '_' || c == '/'; };
  if (text.empty() || text.size() > kMaxLine) return false;
  const bool starts = is_word(text[0]) || (text[0] == '-' && text.size() > 1 && is_word(text[1]));
  if (!starts || text.back() == ' ') return false;
  for (const char c : text) {
    if (!is_word(c) && std::string_view(" -.+@$()%&=;'").find(c) == std::string_view::npos) {
      return false;
    }
  }
  // Controls, line breaks of old and the byte order mark.
  for (const std::string_view odd :
       {"\xC2\x80", "\xC2\x81", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xEF\xBB\xBF"}) {
    if (text.find(odd) != std::string_view::npos) return false;
  }
  std::string lower;
  for (const char c : text) {
    if (c != '_') lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  static constexpr std::string_view kOldBooleans[] = {"y", "n", "yes", "no", "on", "off"};
  return std::find(std::begin(kOldBooleans), std::end(kOldBooleans), lower) ==
             std::end(kOldBooleans) &&
         Resolve(lower, 0).kind == Document::Kind::kString;
}

void AppendFlow(const Document& document, std::string* out) {
  switch (document.kind) {
    case Document::Kind::kString:
      if (IsPlain(document.text)) {
        out->append(document.text);
      } else {
        AppendQuoted(document.text, out);
      }
      return;
    case Document::Kind::kList:
      if (document.items.empty()) {
        out->append("[]");
        return;
      }
      out->append("[ ");
      for (const Document& item : document.items) {
        if (&item != &document.items.front()) out->append(", ");
        AppendFlow(item, out);
      }
      out->append(" ]");
      return;
    case Document::Kind::kMap:
      if (document.fields.empty()) {
        out->append("{}");
        return;
      }
      out->append("{ ");
      for (const Document::Field& field : document.fields) {
        if (&field != &document.fields.front()) out->append(", ");
        absl::StrAppend(out, field.key, ": ");
        AppendFlow(field.value, out);
      }
      out->append(" }");
      return;
    case Document::Kind::kNull:
    case Document::Kind::kBoolean:
    case Document::Kind::kNumber:
      AppendJson(document, out);
      return;
  }
}

std::string Flow(const Document& document) {
  std::string out;
  AppendFlow(document, &out);
  return out;
}

bool IsBlock(const Document& document) {
  return (document.kind == Document::Kind::kMap && !document.fields.empty()) ||
         (document.kind == Document::Kind::kList && !document.items.empty());
}

// `out` stands at the column `indent` of a new line.
void AppendBlock(const Document& document, size_t indent, std::string* out) {
  // What stands behind "key:" or "-": on the same line when it fits there.
  const auto append = [&](const Document& value, size_t used, bool in_list) {
    std::string flow = Flow(value);
    // "- did: { … }" reads better than "- { did: { … } }".
    const bool wraps = in_list && value.fields.size() == 1 && IsBlock(value.fields[0].value);
    if (!IsBlock(value) || (!wraps && indent + used + 1 + flow.size() <= kMaxLine)) {
      absl::StrAppend(out, " ", flow, "\n");
    } else if (in_list) {
      out->append(" ");
      AppendBlock(value, indent + 2, out);
    } else {
      absl::StrAppend(out, "\n", std::string(indent + 2, ' '));
      AppendBlock(value, indent + 2, out);
    }
  };
  bool first = true;
  const auto begin = [&] {
    if (!first) out->append(indent, ' ');
    first = false;
  };
  for (const Document& item : document.items) {
    begin();
    out->append("-");
    append(item, 1, true);
  }
  for (const Document::Field& field : document.fields) {
    begin();
    absl::StrAppend(out, field.key, ":");
    append(field.value, field.key.size() + 1, false);
  }
}

}  // namespace

Document Document::Boolean(bool boolean) {
  Document document = Make(Kind::kBoolean, 0);
  document.boolean = boolean;
  return document;
}

Document Document::Number(double number) {
  Document document = Make(Kind::kNumber, 0);
  document.number = number;
  return document;
}

Document Document::String(std::string_view text) {
  Document document = Make(Kind::kString, 0);
  document.text = text;
  return document;
}

absl::StatusOr<std::vector<Document>> ReadJson(std::string_view text) {
  if (absl::Status status = CheckText(text); !status.ok()) return status;
  return JsonReader(text).read();
}

absl::StatusOr<std::vector<Document>> ReadDocuments(std::string_view text) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  if (absl::Status status = CheckText(text); !status.ok()) return status;
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return std::vector<Document>();
  if (text[first] != '{' && text[first] != '[') return ReadYaml(text);
  auto json = JsonReader(text).read();
  if (json.ok()) return json;
  // A file of YAML may begin so as well.
  auto yaml = ReadYaml(text);
  if (yaml.ok()) return yaml;
  const size_t second = text.find_first_not_of(" \t\r\n", first + 1);
  const bool meant_json = second == std::string_view::npos ||
                          std::string_view("\"{[]}").find(text[second]) != std::string_view::npos;
  return meant_json ? json : yaml;
}

std::string ToJson(const Document& document) {
  std::string out;
  AppendJson(document, &out);
  return out;
}

std::string ToYaml(const Document& document) {
  std::string out;
  if (document.kind == Document::Kind::kMap && !document.fields.empty()) {
    AppendBlock(document, 0, &out);
  } else {
    out = Flow(document) + "\n";
  }
  return out;
}

}  // namespace segmentd
