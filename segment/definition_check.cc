#include "segment/definition_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"

#include "segment/absl_view.h"
#include "segment/calendar.h"
#include "segment/measure.h"
#include "segment/number_condition.h"
#include "segment/predicate.h"
#include "segment/settings.h"
#include "segment/time.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using google::protobuf::FieldDescriptor;

// A definition that is wrong in more places than this is not read any better for more.
constexpr size_t kMaxViolations = 100;
constexpr int kMaxListValues = 10'000;

// In characters; of UTF-8 that protobuf has checked.
int64_t Length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

bool IsIndex(std::string_view step) {
  // "items[0]"
  if (step.empty() || step.back() != ']') return false;
  const size_t open = step.rfind('[');
  if (open == std::string_view::npos || open + 2 >= step.size()) return false;
  const std::string_view inside = step.substr(open + 1, step.size() - open - 2);
  return std::all_of(inside.begin(), inside.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsTimeOfDay(std::string_view text) {
  // A date makes it what ParseTimestamp reads; it would take a fraction and an offset too.
  Time ignored;
  return (text.size() == 5 || text.size() == 8) &&
         ParseTimestamp(absl::StrCat("2000-01-01T", AbslView(text)), &ignored) &&
         text.find_first_not_of("0123456789:") == std::string_view::npos;
}

template <typename... Flags>
int CountSet(Flags... flags) {
  return (0 + ... + (flags ? 1 : 0));
}

class Check {
 public:
  explicit Check(std::vector<Violation>* violations) : violations_(*violations) {}

  void segment(const pb::Segment& segment);

 private:
  // Descends to a field for as long as it lives.
  class At {
   public:
    At(Check* check, std::string_view field) : path_(check->path_), size_(path_.size()) {
      if (!path_.empty()) path_ += '.';
      path_ += field;
    }
    At(Check* check, std::string_view field, int index) : At(check, field) {
      absl::StrAppend(&path_, "[", index, "]");
    }
    ~At() { path_.resize(size_); }
    At(const At&) = delete;
    At& operator=(const At&) = delete;

   private:
    std::string& path_;
    const size_t size_;
  };

  void wrong(std::string_view message) {
    if (violations_.size() < kMaxViolations) violations_.push_back({path_, std::string(message)});
  }
  void unimplemented(std::string_view what) {
    if (violations_.size() < kMaxViolations) {
      violations_.push_back(
          {path_, absl::StrCat(AbslView(what), " can't be run by this version yet"), true});
    }
  }

  void name(std::string_view field, const std::string& text);
  void id(const std::string& id);
  void property_path(const std::string& path);
  // False when it is none or out of bounds.
  void length(std::string_view field, const std::string& text, Duration least, Duration most);
  void window(std::string_view field, const std::string& text);
  // False when it is none. `local` says whether anything in the message is local to it.
  bool time_zone(const std::string& name, bool local, std::string_view no_use, Calendar* calendar);
  void value(const google::protobuf::Value& value);
  void text_value(const std::string& text);
  // Of an operator that asks for an order.
  void ordered(const google::protobuf::Value& value);

  void live(const pb::Live& live);
  void actions(const pb::Actions& actions);
  void inaction(const pb::Inaction& inaction);
  void date_time(const pb::DateTime& date_time);
  void url(bool present, const pb::PropertyCondition& url);
  void page_count(const pb::PageCount& page_count);
  void sequence(const pb::Sequence& sequence);
  void exit(const pb::Exit& exit);
  void events(std::string_view field,
              const google::protobuf::RepeatedPtrField<pb::EventCondition>& events);
  void event(const std::string& event,
             const google::protobuf::RepeatedPtrField<pb::PropertyCondition>& where);
  // Of an operator and its operand; the property is the caller's.
  void condition(const pb::PropertyCondition& condition);
  void operand(const pb::PropertyCondition& condition, const FieldDescriptor* field);
  void property_condition(const pb::PropertyCondition& condition);
  void expression(const pb::Expression& expression, int depth);
  void did(const pb::Did& did);
  // False when an operand is out of bounds.
  template <typename Measure>
  bool measure(const Measure& measure, double most);
  // Adds to what is kept of a user for the condition at the present path.
  void keeps(int64_t values);
  void check_kept();

  std::vector<Violation>& violations_;
  std::string path_;
  int conditions_ = 0;
  // What is kept of a user for the whole definition, and for the condition that needs most.
  int64_t kept_ = 0;
  int64_t kept_most_ = 0;
  std::string kept_most_path_;
};

void Check::name(std::string_view field, const std::string& text) {
  const At at(this, field);
  const int64_t length = Length(text);
  if (length == 0) {
    wrong("is missing or empty; write 1 to 200 characters");
  } else if (length > kMaxNameLength) {
    wrong(absl::StrCat("has ", length, " characters; at most ", kMaxNameLength, " are allowed"));
  } else if (HasControlCharacter(text)) {
    wrong("must not contain control characters");
  }
}

void Check::id(const std::string& id) {
  if (id.size() > static_cast<size_t>(kMaxIdLength) ||
      id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos) {
    wrong(absl::StrCat("is no segment ID; write at most ", kMaxIdLength,
                       " of the characters a-z, 0-9 and -"));
  }
}

void Check::property_path(const std::string& path) {
  std::string_view rest = path;
  while (true) {
    const size_t dot = rest.find('.');
    std::string_view step = rest.substr(0, dot);
    if (IsIndex(step)) {
      wrong("one element of a list can't be named; items[].sku means any element");
      return;
    }
    while (step.size() >= 2 && step.substr(step.size() - 2) == "[]") step.remove_suffix(2);
    if (step.empty() || step.find("[]") != std::string_view::npos) {
      wrong("is no path; write for example amount, cart.id or items[].sku");
      return;
    }
    if (dot == std::string_view::npos) return;
    rest.remove_prefix(dot + 1);
  }
}

void Check::length(std::string_view field, const std::string& text, Duration least, Duration most) {
  const At at(this, field);
  const auto bounds = [&] {
    return absl::StrCat(FormatDuration(least), " to ", FormatDuration(most));
  };
  if (text.empty()) {
    wrong(absl::StrCat("is missing; write a duration from ", bounds()));
    return;
  }
  const auto parsed = ParseDuration(text);
  if (!parsed.ok()) {
    wrong(StdView(parsed.status().message()));
  } else if (*parsed < least || *parsed > most) {
    wrong(absl::StrCat(text, " is out of bounds; ", bounds(), " is allowed"));
  }
}

void Check::window(std::string_view field, const std::string& text) {
  length(field, text, Duration::Millis(1), kMaxWindow);
}

bool Check::time_zone(const std::string& name, bool local, std::string_view no_use,
                      Calendar* calendar) {
  if (name.empty()) return true;
  const At at(this, "time_zone");
  auto loaded = Calendar::Load(name);
  if (!loaded.ok()) {
    wrong(StdView(loaded.status().message()));
    return false;
  }
  if (!local) wrong(absl::StrCat(AbslView(no_use), "; leave it out"));
  *calendar = *std::move(loaded);
  return true;
}

void Check::text_value(const std::string& text) {
  if (text.size() > static_cast<size_t>(kMaxValueBytes)) {
    wrong(absl::StrCat("has ", text.size(), " bytes; at most ", kMaxValueBytes, " are allowed"));
  }
}

void Check::value(const google::protobuf::Value& value) {
  if (value.kind_case() == google::protobuf::Value::kStringValue) text_value(value.string_value());
}

// As strings, "10" comes before "5": whoever writes an order of such means numbers. Refused here
// and not where predicates are compiled, so that what is stored already goes on running.
void Check::ordered(const google::protobuf::Value& value) {
  if (value.kind_case() != google::protobuf::Value::kStringValue) return;
  constexpr std::string_view kBegin = "0123456789+-.";
  const absl::string_view text = absl::StripAsciiWhitespace(value.string_value());
  double number;
  if (text.empty() || kBegin.find(text.front()) == std::string_view::npos ||
      !absl::SimpleAtod(text, &number)) {
    return;
  }
  wrong(absl::StrCat("\"", value.string_value(),
                     "\" in quotes is a string, and strings are ordered byte by byte; write the "
                     "number without quotes, and versions, dates or codes that are texts as "
                     "`matches` or `in`"));
}

void Check::segment(const pb::Segment& segment) {
  name("name", segment.name());
  if (!segment.id().empty()) {
    const At at(this, "id");
    id(segment.id());
  }
  switch (segment.definition_case()) {
    case pb::Segment::kLive: {
      const At at(this, "live");
      live(segment.live());
      break;
    }
    case pb::Segment::kPastBehavior: {
      const At at(this, "past_behavior");
      expression(segment.past_behavior(), 1);
      check_kept();
      break;
    }
    case pb::Segment::kApi: {
      const At at(this, "api");
      name("customer_segment_id", segment.api().customer_segment_id());
      unimplemented("a segment whose members are told over the API");
      break;
    }
    case pb::Segment::kCustomList: {
      const At at(this, "custom_list");
      unimplemented("a segment whose members are uploaded");
      break;
    }
    case pb::Segment::DEFINITION_NOT_SET:
      wrong("has no definition; write exactly one of live, past_behavior, api and custom_list");
      break;
  }
  if (segment.max_changes_per_minute() < 0) {
    const At at(this, "max_changes_per_minute");
    wrong("must be 0, for no limit, or more");
  }
  if (conditions_ > kMaxConditions) {
    const At at(this, segment.has_live() ? "live" : "past_behavior");
    wrong(absl::StrCat("has ", conditions_, " conditions; at most ", kMaxConditions,
                       " are allowed (of properties, and did, did_not, in_segment)"));
  }
}

void Check::live(const pb::Live& live) {
  const int kinds =
      CountSet(live.has_actions(), live.has_inaction(), live.has_date_time(), live.has_page_visit(),
               live.has_referrer(), live.has_page_count(), live.has_sequence());
  if (kinds != 1) {
    wrong(absl::StrCat(kinds == 0 ? "has no kind" : "has several kinds",
                       "; write exactly one of actions, inaction, date_time, page_visit, "
                       "referrer, page_count and sequence"));
  }
  if (live.has_actions()) {
    const At at(this, "actions");
    actions(live.actions());
  }
  if (live.has_inaction()) {
    const At at(this, "inaction");
    inaction(live.inaction());
  }
  if (live.has_date_time()) {
    const At at(this, "date_time");
    date_time(live.date_time());
  }
  if (live.has_page_visit()) {
    const At at(this, "page_visit");
    url(live.page_visit().has_url(), live.page_visit().url());
  }
  if (live.has_referrer()) {
    const At at(this, "referrer");
    url(live.referrer().has_url(), live.referrer().url());
  }
  if (live.has_page_count()) {
    const At at(this, "page_count");
    page_count(live.page_count());
  }
  if (live.has_sequence()) {
    const At at(this, "sequence");
    sequence(live.sequence());
  }
  if (live.has_filter()) {
    const At at(this, "filter");
    expression(live.filter(), 1);
    check_kept();
  }
  if (live.has_exit()) exit(live.exit());
}

void Check::actions(const pb::Actions& actions) {
  events("any_of", actions.any_of());
}

void Check::inaction(const pb::Inaction& inaction) {
  {
    const At at(this, "trigger");
    if (inaction.has_trigger()) {
      event(inaction.trigger().event(), inaction.trigger().where());
    } else {
      wrong("is missing; write the event that starts the time, such as { event: Added to Cart }");
    }
  }
  events("does_not_do", inaction.does_not_do());
  length("within", inaction.within(), kMinWithin, kMaxWithin);
  if (!inaction.match().empty()) {
    name("match", inaction.match());
    const At at(this, "match");
    property_path(inaction.match());
  }
}

void Check::date_time(const pb::DateTime& date_time) {
  name("property", date_time.property());
  if (!date_time.property().empty()) {
    const At at(this, "property");
    property_path(date_time.property());
  }
  if (!date_time.offset().empty()) {
    const At at(this, "offset");
    const auto offset = ParseDuration(date_time.offset(), /*allow_negative=*/true);
    if (!offset.ok()) wrong(StdView(offset.status().message()));
  }
  if (!date_time.at().empty()) {
    const At at(this, "at");
    if (!IsTimeOfDay(date_time.at())) wrong("is no time of day; write for example \"09:00\"");
  }
  if (!date_time.recurring().empty() && date_time.recurring() != "yearly") {
    const At at(this, "recurring");
    wrong("must be yearly; leave it out for the date itself");
  }
  Calendar ignored;
  // A date without an offset is local, whatever else is given.
  time_zone(date_time.time_zone(), /*local=*/true, "", &ignored);
}

void Check::url(bool present, const pb::PropertyCondition& url) {
  const At at(this, "url");
  if (!present) {
    wrong("is missing; write a condition on the URL, such as { contains: /pricing }");
    return;
  }
  if (!url.property().empty()) {
    const At property(this, "property");
    wrong("must be left out: the condition is on the page's URL");
  }
  condition(url);
}

void Check::page_count(const pb::PageCount& page_count) {
  if (page_count.at_least() < 1 || page_count.at_least() > kMaxPageCount) {
    const At at(this, "at_least");
    wrong(absl::StrCat("must be a whole number from 1 to ", kMaxPageCount));
  }
  if (page_count.per().empty() == page_count.within().empty()) {
    wrong(absl::StrCat(
        page_count.per().empty() ? "has neither per nor within" : "has both per and within",
        "; write per: session, or a window such as within: 24h"));
  }
  if (!page_count.per().empty() && page_count.per() != "session") {
    const At at(this, "per");
    wrong("must be session; for a length of time write within");
  }
  if (!page_count.within().empty()) {
    length("within", page_count.within(), kMinWithin, kMaxWithin);
  }
}

void Check::sequence(const pb::Sequence& sequence) {
  if (sequence.steps_size() < kMinSteps || sequence.steps_size() > kMaxSteps) {
    const At at(this, "steps");
    wrong(absl::StrCat("has ", sequence.steps_size(),
                       sequence.steps_size() == 1 ? " step; " : " steps; ", kMinSteps, " to ",
                       kMaxSteps, " are allowed"));
  }
  for (int i = 0; i < sequence.steps_size(); ++i) {
    const At at(this, "steps", i);
    const pb::SequenceStep& step = sequence.steps(i);
    if (step.has_did_not()) {
      if (!step.event().empty() || step.where_size() > 0) {
        wrong("has an event and did_not; write them as two steps");
      }
      if (i == 0) wrong("must be an event: that one did not happen needs a step to count from");
      {
        const At did_not(this, "did_not");
        event(step.did_not().event(), step.did_not().where());
      }
      length("within", step.within(), kMinWithin, kMaxWithin);
      continue;
    }
    if (step.event().empty() && step.where_size() == 0) {
      wrong("is empty; write an event, or did_not with within");
    } else {
      event(step.event(), step.where());
    }
    if (step.within().empty()) continue;
    if (i == 0) {
      const At within(this, "within");
      wrong("must be left out of the first step: there is none before it");
    } else {
      length("within", step.within(), kMinWithin, kMaxWithin);
    }
  }
}

void Check::exit(const pb::Exit& exit) {
  const At at(this, "exit");
  if (CountSet(exit.has_after(), exit.on_size() > 0, exit.has_never()) != 1) {
    wrong("must have exactly one of after, on and never");
  }
  if (exit.has_after()) length("after", exit.after(), kMinWithin, kMaxWindow);
  if (exit.on_size() > 0) events("on", exit.on());
  if (exit.has_never() && !exit.never()) {
    const At never(this, "never");
    wrong("only true may be written; leave exit out, or write after or on");
  }
}

void Check::events(std::string_view field,
                   const google::protobuf::RepeatedPtrField<pb::EventCondition>& events) {
  if (events.empty() || events.size() > kMaxTriggers) {
    const At at(this, field);
    wrong(absl::StrCat("has ", events.size(), " events; 1 to ", kMaxTriggers, " are allowed"));
  }
  for (int i = 0; i < events.size(); ++i) {
    const At at(this, field, i);
    event(events[i].event(), events[i].where());
  }
}

void Check::event(const std::string& event,
                  const google::protobuf::RepeatedPtrField<pb::PropertyCondition>& where) {
  name("event", event);
  for (int i = 0; i < where.size(); ++i) {
    const At at(this, "where", i);
    property_condition(where[i]);
  }
}

void Check::property_condition(const pb::PropertyCondition& condition) {
  name("property", condition.property());
  if (!condition.property().empty()) {
    const At at(this, "property");
    property_path(condition.property());
  }
  this->condition(condition);
}

void Check::condition(const pb::PropertyCondition& condition) {
  ++conditions_;
  const auto* descriptor = pb::PropertyCondition::descriptor();
  const auto* reflection = condition.GetReflection();
  std::vector<const FieldDescriptor*> set;
  std::vector<std::string> allowed;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->number() == pb::PropertyCondition::kPropertyFieldNumber ||
        field->number() == pb::PropertyCondition::kIgnoreCaseFieldNumber) {
      continue;
    }
    allowed.push_back(field->name());
    if (reflection->HasField(condition, field)) set.push_back(field);
  }
  if (set.empty()) {
    wrong(absl::StrCat("has no operator; write exactly one of ", absl::StrJoin(allowed, ", ")));
  } else if (set.size() > 1) {
    const auto append = [](std::string* out, const FieldDescriptor* field) {
      out->append(field->name());
    };
    wrong(absl::StrCat("has several operators (", absl::StrJoin(set, ", ", append),
                       "); write one in each condition"));
  }
  // Each of several is worth a look too.
  for (const FieldDescriptor* field : set) operand(condition, field);
}

void Check::operand(const pb::PropertyCondition& condition, const FieldDescriptor* field) {
  const auto* reflection = condition.GetReflection();
  const size_t before = violations_.size();
  const At at(this, field->name());
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    text_value(reflection->GetString(condition, field));
  } else if (field->message_type() == google::protobuf::Value::descriptor()) {
    const auto& of =
        static_cast<const google::protobuf::Value&>(reflection->GetMessage(condition, field));
    value(of);
    if (field->number() != pb::PropertyCondition::kEqualsFieldNumber &&
        field->number() != pb::PropertyCondition::kNotEqualsFieldNumber) {
      ordered(of);
    }
  } else if (field->message_type() == google::protobuf::ListValue::descriptor()) {
    const auto& list =
        static_cast<const google::protobuf::ListValue&>(reflection->GetMessage(condition, field));
    if (list.values_size() > kMaxListValues) {
      wrong(absl::StrCat("has ", list.values_size(), " values; at most ", kMaxListValues,
                         " are allowed"));
    }
    for (int i = 0; i < list.values_size(); ++i) {
      const size_t size = path_.size();
      absl::StrAppend(&path_, "[", i, "]");
      value(list.values(i));
      if (field->number() == pb::PropertyCondition::kBetweenFieldNumber) ordered(list.values(i));
      path_.resize(size);
    }
  }
  switch (field->number()) {
    case pb::PropertyCondition::kExistsFieldNumber:
    case pb::PropertyCondition::kBeforeFieldNumber:
    case pb::PropertyCondition::kAfterFieldNumber:
    case pb::PropertyCondition::kWithinLastFieldNumber:
    case pb::PropertyCondition::kWithinNextFieldNumber:
      if (condition.ignore_case()) wrong("has no use for ignore_case; leave it out");
      break;
    default:
      break;
  }
  if (violations_.size() > before) return;

  pb::PropertyCondition alone;
  alone.set_ignore_case(condition.ignore_case());
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    reflection->MutableMessage(&alone, field)->CopyFrom(reflection->GetMessage(condition, field));
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    reflection->SetString(&alone, field, reflection->GetString(condition, field));
  } else {
    reflection->SetBool(&alone, field, reflection->GetBool(condition, field));
  }
  if (const auto compiled = Predicate::Compile(alone); !compiled.ok()) {
    wrong(StdView(compiled.status().message()));
    return;
  }
  if (field->number() == pb::PropertyCondition::kWithinLastFieldNumber ||
      field->number() == pb::PropertyCondition::kWithinNextFieldNumber) {
    const auto window = ParseDuration(reflection->GetString(condition, field));
    if (window.ok() && *window > kMaxWindow) {
      wrong(absl::StrCat("is out of bounds; at most ", FormatDuration(kMaxWindow), " is allowed"));
    }
  }
}

void Check::expression(const pb::Expression& expression, int depth) {
  if (depth > kMaxDepth) {
    wrong(absl::StrCat("is nested deeper than ", kMaxDepth, " levels"));
    return;
  }
  if (CountSet(expression.has_did(), expression.has_did_not(), expression.has_property(),
               !expression.in_segment().empty(), expression.all_of_size() > 0,
               expression.any_of_size() > 0, expression.has_not_()) != 1) {
    wrong("must have exactly one of did, did_not, property, in_segment, all_of, any_of and not");
  }
  if (expression.has_did()) {
    const At at(this, "did");
    did(expression.did());
  }
  if (expression.has_did_not()) {
    const At at(this, "did_not");
    did(expression.did_not());
  }
  if (expression.has_property()) {
    const At at(this, "property");
    property_condition(expression.property());
  }
  if (!expression.in_segment().empty()) {
    ++conditions_;
    const At at(this, "in_segment");
    id(expression.in_segment());
  }
  for (int i = 0; i < expression.all_of_size(); ++i) {
    const At at(this, "all_of", i);
    this->expression(expression.all_of(i), depth + 1);
  }
  for (int i = 0; i < expression.any_of_size(); ++i) {
    const At at(this, "any_of", i);
    this->expression(expression.any_of(i), depth + 1);
  }
  if (expression.has_not_()) {
    const At at(this, "not");
    this->expression(expression.not_(), depth + 1);
  }
}

void Check::did(const pb::Did& did) {
  ++conditions_;
  event(did.event(), did.where());
  if (CountSet(!did.within_last().empty(), did.has_between(), !did.during().empty()) > 1) {
    wrong("must have at most one of within_last, between and during");
  }
  if (!did.within_last().empty()) window("within_last", did.within_last());
  const bool weeks = did.during() == "this_week" || did.during() == "last_week";
  Calendar calendar;
  const bool zone_known = time_zone(
      did.time_zone(), did.has_between() || !did.during().empty(),
      "has no use without between or during: other ranges are the same everywhere", &calendar);
  if (did.has_between()) {
    const At at(this, "between");
    Time from;
    Time to;
    const auto date = [this, &calendar](std::string_view field, const std::string& text,
                                        Time* time) {
      const At at_date(this, field);
      const bool ok = calendar.parse(text, time);
      if (!ok) wrong("must be a date such as 2026-04-01 or 2026-04-01T09:00");
      return ok;
    };
    const bool from_ok = date("from", did.between().from(), &from);
    const bool to_ok = date("to", did.between().to(), &to);
    if (zone_known && from_ok && to_ok && from >= to) wrong("from must be before to");
  }
  if (!did.during().empty()) {
    const At at(this, "during");
    static constexpr std::string_view kRanges[] = {
        "today", "yesterday", "this_week", "last_week", "this_month", "last_month", "this_year"};
    if (std::find(std::begin(kRanges), std::end(kRanges), did.during()) == std::end(kRanges)) {
      wrong(
          "must be one of today, yesterday, this_week, last_week, this_month, last_month and "
          "this_year");
    }
  }
  if (!did.week_starts().empty()) {
    const At at(this, "week_starts");
    if (did.week_starts() != "monday" && did.week_starts() != "sunday") {
      wrong("must be monday or sunday");
    } else if (!weeks) {
      wrong("has no use without during: this_week or last_week; leave it out");
    }
  }

  const bool slides = !did.within_last().empty();
  if (did.first_time()) keeps(1);
  if (did.has_count()) {
    const At at(this, "count");
    // Only in a window that slides each event is kept.
    constexpr double kMostExact = 9007199254740992;
    if (measure(did.count(), slides ? kMaxKeptPerUser : kMostExact)) {
      const int64_t deciding = NumberTest::Of(did.count()).deciding_count();
      keeps(slides ? std::max<int64_t>(deciding, 1) : 1);
    }
  } else if (!did.first_time() && !did.has_sum() && !did.has_average()) {
    keeps(1);
  }
  const auto aggregate = [&](std::string_view field, const pb::Aggregate& of) {
    const At at(this, field);
    name("property", of.property());
    if (!of.property().empty()) {
      const At property(this, "property");
      property_path(of.property());
    }
    measure(of, std::numeric_limits<double>::max());
    keeps(slides ? int64_t{kMaxSamples} : 1);
  };
  if (did.has_sum()) aggregate("sum", did.sum());
  if (did.has_average()) aggregate("average", did.average());
}

template <typename Measure>
bool Check::measure(const Measure& measure, double most) {
  const auto* reflection = measure.GetReflection();
  const auto* descriptor = Measure::descriptor();
  bool any = false;
  bool ok = true;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE) continue;
    if (!reflection->HasField(measure, field)) continue;
    any = true;
    const At at(this, field->name());
    const double operand = reflection->GetDouble(measure, field);
    if (!std::isfinite(operand)) {
      wrong("must be a finite number");
      ok = false;
    } else if (operand > most) {
      wrong(absl::StrCat("must be at most ", most, ": no more events are counted"));
      ok = false;
    }
  }
  if (!any) {
    wrong(
        "must have at least one of equals, not_equals, greater_than, at_least, less_than and "
        "at_most");
  }
  return ok;
}

void Check::keeps(int64_t values) {
  kept_ += values;
  if (values <= kept_most_) return;
  kept_most_ = values;
  kept_most_path_ = path_;
}

void Check::check_kept() {
  if (kept_ <= kMaxKeptPerUser) return;
  wrong(absl::StrCat("would keep up to ", kept_, " values of each user, most of them (", kept_most_,
                     ") for ", kept_most_path_, "; at most ", kMaxKeptPerUser,
                     " are allowed: lower the counts, or sum and average over fewer windows that "
                     "slide (within_last)"));
}

}  // namespace

std::vector<Violation> CheckSegment(const pb::Segment& segment) {
  std::vector<Violation> violations;
  Check(&violations).segment(segment);
  return violations;
}

}  // namespace segmentd
