#include "segment/definition_text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/time_util.h"

#include "segment/absl_view.h"
#include "segment/document.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::util::TimeUtil;

constexpr size_t kMaxViolations = 100;

bool IsDate(const FieldDescriptor* field) {
  if (field->containing_type() == pb::TimeRange::descriptor()) return true;
  return field->containing_type() == pb::PropertyCondition::descriptor() &&
         (field->number() == pb::PropertyCondition::kBeforeFieldNumber ||
          field->number() == pb::PropertyCondition::kAfterFieldNumber);
}

// A length of time. `after` is one of an exit; of a condition it is a date.
bool IsLength(const FieldDescriptor* field) {
  static constexpr std::string_view kNames[] = {"within", "after", "within_last", "within_next",
                                                "offset"};
  return !IsDate(field) &&
         std::find(std::begin(kNames), std::end(kNames), field->name()) != std::end(kNames);
}

// At most 64 bytes of it, for messages.
std::string_view Shortened(std::string_view text) {
  if (text.size() <= 64) return text;
  size_t size = 64;
  while (size > 0 && (text[size] & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

// The number of edits that lead from one name to the other.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// What was found instead.
std::string_view KindName(const Document& document) {
  switch (document.kind) {
    case Document::Kind::kNull:
      return "null";
    case Document::Kind::kBoolean:
      return "true or false";
    case Document::Kind::kNumber:
      return "a number";
    case Document::Kind::kString:
      return "a string";
    case Document::Kind::kList:
      return "a list";
    case Document::Kind::kMap:
      return "a mapping";
  }
  return "";
}

class Mapper {
 public:
  // `stored`: a record of the definitions topic, with the fields that only the server sets.
  Mapper(bool stored, std::vector<Violation>* violations)
      : stored_(stored), violations_(*violations) {}

  void message(const Document& from, Message* to);

 private:
  void wrong(const Document& at, std::string_view message) {
    if (violations_.size() >= kMaxViolations) return;
    Violation violation{path_, std::string(message)};
    if (!stored_ && at.line > 0) absl::StrAppend(&violation.message, " (line ", at.line, ")");
    violations_.push_back(std::move(violation));
  }
  void wrong_kind(const Document& found, std::string_view wanted, std::string_view hint = "") {
    if (found.kind == Document::Kind::kNull) {
      wrong(found, absl::StrCat("is null; write ", AbslView(wanted), " or leave it out"));
    } else {
      wrong(found, absl::StrCat("must be ", AbslView(wanted), ", not ", AbslView(KindName(found)),
                                AbslView(hint)));
    }
  }
  void unknown(const Document::Field& field, const Descriptor* descriptor);
  void field(const Document& from, const FieldDescriptor* field, Message* to);
  void repeated(const Document& from, const FieldDescriptor* field, Message* to);
  void string(const Document& from, const FieldDescriptor* field, Message* to);
  std::optional<double> number(const Document& from);
  void value(const Document& from, google::protobuf::Value* to);
  void list(const Document& from, google::protobuf::ListValue* to);

  const bool stored_;
  std::vector<Violation>& violations_;
  std::string path_;
  // Of the messages around the present one, the outermost first.
  std::vector<std::pair<const Descriptor*, std::string>> around_;
};

void Mapper::unknown(const Document::Field& field, const Descriptor* descriptor) {
  std::vector<std::string> allowed;
  std::string nearest;
  size_t nearest_distance = field.key.size() < 4 ? 2 : 3;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (IsOutputOnly(descriptor->field(i))) continue;
    const std::string& name = descriptor->field(i)->name();
    allowed.push_back(name);
    if (field.key.size() > 64) continue;
    if (const size_t distance = Distance(field.key, name); distance < nearest_distance) {
      nearest_distance = distance;
      nearest = name;
    }
  }
  std::string message = "is no field here";
  const auto outer = std::find_if(around_.rbegin(), around_.rend(), [&](const auto& around) {
    return around.first != descriptor && around.first->FindFieldByName(field.key) != nullptr;
  });
  if (!nearest.empty()) {
    absl::StrAppend(&message, "; did you mean ", nearest, "?");
  } else if (outer != around_.rend()) {
    absl::StrAppend(&message, "; it is one of ",
                    outer->second.empty() ? "the segment" : outer->second);
  }
  if (allowed.empty()) {
    message += "; none is allowed";
  } else {
    absl::StrAppend(&message, "; allowed are ", absl::StrJoin(allowed, ", "));
  }
  wrong(field.value, message);
}

void Mapper::message(const Document& from, Message* to) {
  if (to->GetDescriptor() == google::protobuf::Value::descriptor()) {
    value(from, static_cast<google::protobuf::Value*>(to));
    return;
  }
  if (to->GetDescriptor() == google::protobuf::ListValue::descriptor()) {
    list(from, static_cast<google::protobuf::ListValue*>(to));
    return;
  }
  if (to->GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    constexpr std::string_view kWanted = "a time such as 2026-04-01T09:00:00Z";
    if (from.kind != Document::Kind::kString) {
      wrong_kind(from, kWanted);
    } else if (!TimeUtil::FromString(from.text, static_cast<google::protobuf::Timestamp*>(to))) {
      wrong(from, absl::StrCat("must be ", AbslView(kWanted)));
    }
    return;
  }
  const Descriptor* descriptor = to->GetDescriptor();
  if (from.kind != Document::Kind::kMap) {
    wrong_kind(from, "a mapping of fields");
    return;
  }
  std::vector<bool> seen(static_cast<size_t>(descriptor->field_count()));
  const size_t size = path_.size();
  const size_t depth = around_.size();
  around_.emplace_back(descriptor, path_);
  for (const Document::Field& member : from.fields) {
    if (!path_.empty()) path_ += '.';
    path_ += Shortened(member.key);
    const FieldDescriptor* found = descriptor->FindFieldByName(member.key);
    if (found == nullptr) {
      unknown(member, descriptor);
    } else if (seen[static_cast<size_t>(found->index())]) {
      wrong(member.value, "stands twice; write it once");
    } else {
      seen[static_cast<size_t>(found->index())] = true;
      const auto* oneof = found->real_containing_oneof();
      if (oneof != nullptr && to->GetReflection()->HasOneof(*to, oneof)) {
        const auto* other = to->GetReflection()->GetOneofFieldDescriptor(*to, oneof);
        wrong(member.value,
              absl::StrCat("can't stand beside ", other->name(), "; write one of them"));
      } else if (stored_ || !IsOutputOnly(found)) {
        field(member.value, found, to);
      } else {
        // It means nothing in a file, and is read as what it should be all the same.
        const std::unique_ptr<Message> ignored(to->New());
        field(member.value, found, ignored.get());
      }
    }
    path_.resize(size);
  }
  around_.resize(depth);
}

void Mapper::field(const Document& from, const FieldDescriptor* field, Message* to) {
  const Reflection* reflection = to->GetReflection();
  if (field->is_repeated()) {
    repeated(from, field, to);
    return;
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      message(from, reflection->MutableMessage(to, field));
      return;
    case FieldDescriptor::CPPTYPE_STRING:
      string(from, field, to);
      return;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (from.kind == Document::Kind::kBoolean) {
        reflection->SetBool(to, field, from.boolean);
      } else {
        wrong_kind(
            from, "true or false",
            from.kind == Document::Kind::kString ? "; yes, no, on and off are strings too" : "");
      }
      return;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (const auto parsed = number(from)) reflection->SetDouble(to, field, *parsed);
      return;
    case FieldDescriptor::CPPTYPE_INT64:
      if (const auto parsed = number(from)) {
        constexpr double kExact = 9007199254740992.0;
        if (*parsed != std::floor(*parsed) || std::abs(*parsed) > kExact) {
          wrong(from, "must be a whole number");
        } else {
          reflection->SetInt64(to, field, static_cast<int64_t>(*parsed));
        }
      }
      return;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const std::string& name = field->enum_type()->name();
      if (from.kind != Document::Kind::kString) {
        wrong_kind(from, absl::StrCat("the name of a ", name));
      } else if (const auto* named = field->enum_type()->FindValueByName(from.text)) {
        reflection->SetEnum(to, field, named);
      } else {
        wrong(from, absl::StrCat("is no ", name));
      }
      return;
    }
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_FLOAT:
      wrong(from, "has a type that is not read");
      return;
  }
}

void Mapper::repeated(const Document& from, const FieldDescriptor* field, Message* to) {
  if (from.kind != Document::Kind::kList) {
    wrong_kind(from, "a list");
    return;
  }
  if (from.items.empty()) {
    wrong(from, "is an empty list; write at least one or leave it out");
    return;
  }
  const size_t size = path_.size();
  for (size_t i = 0; i < from.items.size(); ++i) {
    absl::StrAppend(&path_, "[", i, "]");
    message(from.items[i], to->GetReflection()->AddMessage(to, field));
    path_.resize(size);
  }
}

void Mapper::string(const Document& from, const FieldDescriptor* field, Message* to) {
  if (from.kind != Document::Kind::kString) {
    const bool scalar =
        from.kind == Document::Kind::kNumber || from.kind == Document::Kind::kBoolean;
    const std::string_view hint = !scalar           ? ""
                                  : IsDate(field)   ? "; write a date such as 2026-04-01"
                                  : IsLength(field) ? "; write it with its unit, such as 10m"
                                                    : "; write it in quotes";
    wrong_kind(from, "a string", hint);
    return;
  }
  // An operator's operand may be empty; a name, and what has a grammar, may not.
  if (from.text.empty() && !field->has_presence()) {
    wrong(from, "is empty; write at least one character or leave it out");
    return;
  }
  to->GetReflection()->SetString(to, field, from.text);
}

std::optional<double> Mapper::number(const Document& from) {
  if (from.kind != Document::Kind::kNumber) {
    wrong_kind(from, "a number",
               from.kind == Document::Kind::kString ? "; write it without quotes" : "");
    return std::nullopt;
  }
  if (!std::isfinite(from.number)) {
    wrong(from, "must be a finite number");
    return std::nullopt;
  }
  return from.number;
}

void Mapper::value(const Document& from, google::protobuf::Value* to) {
  switch (from.kind) {
    case Document::Kind::kString:
      to->set_string_value(from.text);
      return;
    case Document::Kind::kNumber:
      if (const auto parsed = number(from)) to->set_number_value(*parsed);
      return;
    case Document::Kind::kBoolean:
      to->set_bool_value(from.boolean);
      return;
    case Document::Kind::kList:
      wrong_kind(from, "a string, a number, true or false",
                 "; write in or not_in for several values");
      return;
    case Document::Kind::kNull:
    case Document::Kind::kMap:
      wrong_kind(from, "a string, a number, true or false");
      return;
  }
}

void Mapper::list(const Document& from, google::protobuf::ListValue* to) {
  if (from.kind != Document::Kind::kList) {
    wrong_kind(from, "a list such as [ 7, 8 ]");
    return;
  }
  if (from.items.empty()) {
    wrong(from, "is an empty list; write at least one value");
    return;
  }
  const size_t size = path_.size();
  for (size_t i = 0; i < from.items.size(); ++i) {
    absl::StrAppend(&path_, "[", i, "]");
    value(from.items[i], to->add_values());
    path_.resize(size);
  }
}

enum class Fields { kStored, kWritten };

Document FromValue(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kStringValue:
      return Document::String(value.string_value());
    case google::protobuf::Value::kNumberValue:
      // JSON has no other numbers; such a value passes no check.
      return std::isfinite(value.number_value()) ? Document::Number(value.number_value())
                                                 : Document();
    case google::protobuf::Value::kBoolValue:
      return Document::Boolean(value.bool_value());
    case google::protobuf::Value::kListValue:
    case google::protobuf::Value::kStructValue:
    case google::protobuf::Value::kNullValue:
    case google::protobuf::Value::KIND_NOT_SET:
      break;
  }
  return {};
}

Document FromMessage(const Message& message, Fields fields);

Document FromField(const Message& message, const FieldDescriptor* field, Fields fields) {
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated()) {
    Document list;
    list.kind = Document::Kind::kList;
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      list.items.push_back(FromMessage(reflection->GetRepeatedMessage(message, field, i), fields));
    }
    return list;
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FromMessage(reflection->GetMessage(message, field), fields);
    case FieldDescriptor::CPPTYPE_STRING:
      return Document::String(reflection->GetString(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return Document::Boolean(reflection->GetBool(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double number = reflection->GetDouble(message, field);
      return std::isfinite(number) ? Document::Number(number) : Document();
    }
    case FieldDescriptor::CPPTYPE_INT64:
      return Document::Number(static_cast<double>(reflection->GetInt64(message, field)));
    case FieldDescriptor::CPPTYPE_ENUM:
      return Document::String(reflection->GetEnum(message, field)->name());
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_FLOAT:
      break;
  }
  return {};
}

Document FromMessage(const Message& message, Fields fields) {
  const Descriptor* descriptor = message.GetDescriptor();
  if (descriptor == google::protobuf::Value::descriptor()) {
    return FromValue(static_cast<const google::protobuf::Value&>(message));
  }
  if (descriptor == google::protobuf::ListValue::descriptor()) {
    Document list;
    list.kind = Document::Kind::kList;
    for (const auto& value : static_cast<const google::protobuf::ListValue&>(message).values()) {
      list.items.push_back(FromValue(value));
    }
    return list;
  }
  if (descriptor == google::protobuf::Timestamp::descriptor()) {
    return Document::String(
        TimeUtil::ToString(static_cast<const google::protobuf::Timestamp&>(message)));
  }
  Document map;
  map.kind = Document::Kind::kMap;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    const bool present = field->is_repeated()
                             ? message.GetReflection()->FieldSize(message, field) > 0
                             : message.GetReflection()->HasField(message, field);
    const bool of_server =
        IsOutputOnly(field) || (field->name() == "etag" && descriptor == pb::Segment::descriptor());
    if (!present || (fields == Fields::kWritten && of_server)) continue;
    map.fields.push_back({field->name(), FromField(message, field, fields)});
  }
  return map;
}

}  // namespace

bool IsOutputOnly(const FieldDescriptor* field) {
  return field->containing_type() == pb::Segment::descriptor() &&
         (field->number() >= pb::Segment::kVersionFieldNumber ||
          field->number() == pb::Segment::kPausedFieldNumber) &&
         field->number() != pb::Segment::kEtagFieldNumber;
}

absl::StatusOr<std::vector<SegmentDocument>> ReadSegmentDocuments(std::string_view text) {
  auto documents = ReadDocuments(text);
  if (!documents.ok()) return documents.status();
  std::vector<SegmentDocument> segments;
  segments.reserve(documents->size());
  for (const Document& document : *documents) {
    SegmentDocument& segment = segments.emplace_back();
    segment.line = document.line;
    Mapper(/*stored=*/false, &segment.violations).message(document, &segment.segment);
  }
  return segments;
}

absl::StatusOr<pb::Segment> SegmentFromJson(std::string_view json) {
  auto documents = ReadJson(json);
  if (!documents.ok()) return documents.status();
  if (documents->size() != 1) {
    return absl::InvalidArgumentError("there must be one JSON object, and no more");
  }
  pb::Segment segment;
  std::vector<Violation> violations;
  Mapper(/*stored=*/true, &violations).message(documents->front(), &segment);
  if (!violations.empty()) {
    const std::string more =
        violations.size() == 1 ? "" : absl::StrCat(" (and ", violations.size() - 1, " more)");
    return absl::InvalidArgumentError(absl::StrCat(
        violations[0].path, violations[0].path.empty() ? "" : ": ", violations[0].message, more));
  }
  return segment;
}

std::string SegmentToJson(const pb::Segment& segment) {
  return ToJson(FromMessage(segment, Fields::kStored));
}

std::string SegmentToYaml(const pb::Segment& segment) {
  return ToYaml(FromMessage(segment, Fields::kWritten));
}

}  // namespace segmentd
