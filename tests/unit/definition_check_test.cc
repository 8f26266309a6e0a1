#include "segment/definition_check.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/definition_text.h"
#include "segment/rule_set.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

pb::Segment Read(const std::string& yaml) {
  const auto documents = ReadSegmentDocuments(yaml);
  if (!documents.ok() || documents->size() != 1 || !documents->front().violations.empty()) {
    ADD_FAILURE() << yaml << "\n" << documents.status();
    for (const Violation& violation :
         documents.ok() ? documents->front().violations : std::vector<Violation>()) {
      ADD_FAILURE() << violation.path << ": " << violation.message;
    }
    return {};
  }
  return documents->front().segment;
}

// "path: message", with a "?" before what is only unimplemented.
std::vector<std::string> Check(const pb::Segment& segment) {
  std::vector<std::string> lines;
  for (const Violation& v : CheckSegment(segment)) {
    lines.push_back((v.unimplemented ? "?" : "") + v.path + ": " + v.message);
  }
  return lines;
}
std::vector<std::string> Check(const std::string& yaml) {
  return Check(Read(yaml));
}

// Of a live segment with this below `live`.
std::vector<std::string> CheckLive(const std::string& live) {
  return Check("{ name: S, live: { " + live + " } }");
}

// Of a condition on an event's property.
std::vector<std::string> CheckCondition(const std::string& condition) {
  return CheckLive("actions: { any_of: [ { event: E, where: [ { " + condition + " } ] } ] }");
}
constexpr std::string_view kCondition = "live.actions.any_of[0].where[0]";

std::string Repeat(int times, const std::string& text) {
  std::string out;
  for (int i = 0; i < times; ++i) out += (i ? ", " : "") + text;
  return out;
}

const char kActions[] = "actions: { any_of: [ { event: E } ] }";

TEST(CheckSegment, PassesWhatIsRight) {
  for (const char* live : {
           "actions: { any_of: [ { event: E } ] }",
           "actions: { any_of: [ { event: E } ], repeat: true }, exit: { after: 24h }",
           "actions: { any_of: [ { event: E } ] }, exit: { on: [ { event: F } ] }",
           "actions: { any_of: [ { event: E } ] }, exit: { never: true }",
           "inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: 1s }",
           "inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: 90d, "
           "restart: true, match: cart.id }",
           "page_visit: { url: { starts_with: x }, repeat: true }",
           "referrer: { url: { exists: true } }",
           "page_count: { at_least: 1, per: session }",
           "page_count: { at_least: 1000, within: 90d, distinct_urls: true, repeat: true }",
           "date_time: { property: appointment_at }",
           "date_time: { property: appointment_at, offset: -5d, at: \"09:00\", "
           "time_zone: Asia/Kolkata }, exit: { after: 1h }",
           "date_time: { property: born, recurring: yearly, time_zone: Europe/Berlin }",
           "sequence: { steps: [ { event: A }, { event: B } ] }",
           "sequence: { steps: [ { event: A }, { event: B, within: 1s }, { did_not: { event: C }, "
           "within: 90d } ], repeat: true }",
           "actions: { any_of: [ { event: E } ] }, filter: { all_of: [ { did: { event: A } }, { "
           "did_not: { event: B, during: this_week, week_starts: sunday, time_zone: Asia/Kolkata "
           "} }, { in_segment: s2 } ] }",
           "actions: { any_of: [ { event: E } ] }, filter: { property: { property: country, "
           "equals: IN } }",
           "actions: { any_of: [ { event: E } ] }, filter: { all_of: [ { not: { property: { "
           "property: a, exists: true } } },"
           " { any_of: [ { property: { property: t, within_last: 30d } } ] } ] }",
       }) {
    EXPECT_THAT(CheckLive(live), IsEmpty()) << live;
    // What passes can be compiled.
    ActiveSegment active;
    active.segment = Read(std::string("{ id: s, name: S, live: { ") + live + " } }");
    std::vector<ActiveSegment> segments;
    segments.push_back(std::move(active));
    EXPECT_TRUE(RuleSet::Compile(std::move(segments)).ok()) << live;
  }
}

TEST(CheckSegment, NameAndId) {
  const auto named = [](const std::string& name, const std::string& id = "") {
    pb::Segment segment;
    segment.set_name(name);
    segment.set_id(id);
    segment.mutable_live()->mutable_actions()->add_any_of()->set_event("E");
    return Check(segment);
  };
  std::string long_name;
  for (int i = 0; i < 200; ++i) long_name += "ü";
  EXPECT_THAT(named(long_name), IsEmpty());
  EXPECT_THAT(named(long_name + "x"),
              ElementsAre("name: has 201 characters; at most 200 are allowed"));
  EXPECT_THAT(named(""), ElementsAre(StartsWith("name: is missing or empty")));
  EXPECT_THAT(named("a\nb"), ElementsAre("name: must not contain control characters"));
  EXPECT_THAT(named("a", std::string(64, 'a')), IsEmpty());
  EXPECT_THAT(named("a", "power-users-7"), IsEmpty());
  for (const char* id : {"Power", "a_b", "a b", "ä", "a.b"}) {
    EXPECT_THAT(named("a", id),
                ElementsAre(HasSubstr("at most 64 of the characters a-z, 0-9 and -")))
        << id;
  }
  EXPECT_THAT(named("a", std::string(65, 'a')), ElementsAre(StartsWith("id: is no segment ID")));
}

TEST(CheckSegment, ExactlyOneDefinitionAndKind) {
  EXPECT_THAT(Check(std::string("{ name: S }")),
              ElementsAre(HasSubstr("exactly one of live, past_behavior, api and custom_list")));
  EXPECT_THAT(CheckLive("exit: { never: true }"),
              ElementsAre("live: has no kind; write exactly one of actions, inaction, date_time, "
                          "page_visit, referrer, page_count and sequence"));
  EXPECT_THAT(CheckLive(std::string(kActions) + ", page_count: { at_least: 5, per: session }"),
              ElementsAre(StartsWith("live: has several kinds")));
}

TEST(CheckSegment, Triggers) {
  EXPECT_THAT(CheckLive("actions: { any_of: [ " + Repeat(10, "{ event: E }") + " ] }"), IsEmpty());
  EXPECT_THAT(CheckLive("actions: { any_of: [ " + Repeat(11, "{ event: E }") + " ] }"),
              ElementsAre("live.actions.any_of: has 11 events; 1 to 10 are allowed"));
  EXPECT_THAT(CheckLive("actions: {}"),
              ElementsAre(StartsWith("live.actions.any_of: has 0 events")));
  EXPECT_THAT(CheckLive("actions: { any_of: [ { event: E }, {} ] }"),
              ElementsAre(StartsWith("live.actions.any_of[1].event: is missing")));
  EXPECT_THAT(CheckLive("actions: { any_of: [ { event: " + std::string(201, 'e') + " } ] }"),
              ElementsAre(HasSubstr("201 characters")));
}

TEST(CheckSegment, Inaction) {
  EXPECT_THAT(CheckLive("inaction: {}"),
              ElementsAre(StartsWith("live.inaction.trigger: is missing"),
                          StartsWith("live.inaction.does_not_do: has 0 events"),
                          StartsWith("live.inaction.within: is missing")));
  const auto within = [](const std::string& length) {
    return CheckLive("inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: " +
                     length + " }");
  };
  EXPECT_THAT(within("1s"), IsEmpty());
  EXPECT_THAT(within("90d"), IsEmpty());
  EXPECT_THAT(within("999ms"),
              ElementsAre("live.inaction.within: 999ms is out of bounds; 1s to 90d is allowed"));
  EXPECT_THAT(within("90d1ms"),
              ElementsAre("live.inaction.within: 90d1ms is out of bounds; 1s to 90d is allowed"));
  EXPECT_THAT(within("-5m"), ElementsAre(HasSubstr("it is negative")));
  EXPECT_THAT(within("ten"), ElementsAre(HasSubstr("is no duration")));
  EXPECT_THAT(CheckLive("inaction: { trigger: { event: A }, does_not_do: [ { event: B } ], within: "
                        "1m, match: a..b }"),
              ElementsAre(StartsWith("live.inaction.match: is no path")));
  EXPECT_THAT(CheckLive("inaction: { trigger: { event: A }, does_not_do: [ " +
                        Repeat(11, "{ event: B }") + " ], within: 1m }"),
              ElementsAre(StartsWith("live.inaction.does_not_do: has 11 events")));
}

TEST(CheckSegment, Exit) {
  const auto exit = [](const std::string& text) {
    return CheckLive(std::string(kActions) + ", exit: " + text);
  };
  EXPECT_THAT(exit("{ after: 1s }"), IsEmpty());
  EXPECT_THAT(exit("{ after: 540d }"), IsEmpty());
  EXPECT_THAT(exit("{ after: 999ms }"),
              ElementsAre("live.exit.after: 999ms is out of bounds; 1s to 540d is allowed"));
  EXPECT_THAT(exit("{ after: 541d }"), ElementsAre(HasSubstr("1s to 540d is allowed")));
  EXPECT_THAT(exit("{ after: \"\" }"), ElementsAre(StartsWith("live.exit.after: is missing")));
  EXPECT_THAT(exit("{}"), ElementsAre("live.exit: must have exactly one of after, on and never"));
  EXPECT_THAT(exit("{ after: 1h, never: true }"),
              ElementsAre(StartsWith("live.exit: must have exactly one")));
  EXPECT_THAT(exit("{ never: false }"),
              ElementsAre(StartsWith("live.exit.never: only true may be written")));
  EXPECT_THAT(exit("{ on: [ " + Repeat(11, "{ event: B }") + " ] }"),
              ElementsAre(StartsWith("live.exit.on: has 11 events")));
  EXPECT_THAT(exit("{ on: [ { event: F, where: [ { property: p, matches: ( } ] } ] }"),
              ElementsAre(StartsWith(
                  "live.exit.on[0].where[0].matches: is no regular expression of RE2: missing )")));
}

TEST(CheckSegment, Pages) {
  EXPECT_THAT(CheckLive("page_visit: {}"),
              ElementsAre(StartsWith("live.page_visit.url: is missing")));
  EXPECT_THAT(CheckLive("referrer: { url: {} }"),
              ElementsAre(StartsWith("live.referrer.url: has no operator")));
  EXPECT_THAT(CheckLive("page_visit: { url: { property: path, contains: x } }"),
              ElementsAre(StartsWith("live.page_visit.url.property: must be left out")));
  EXPECT_THAT(CheckLive("page_visit: { url: { matches: '[' } }"),
              ElementsAre(StartsWith("live.page_visit.url.matches: ")));
  EXPECT_THAT(CheckLive("page_count: { at_least: 5 }"),
              ElementsAre(StartsWith("live.page_count: has neither per nor within")));
  EXPECT_THAT(CheckLive("page_count: { at_least: 5, per: session, within: 24h }"),
              ElementsAre(StartsWith("live.page_count: has both per and within")));
  EXPECT_THAT(CheckLive("page_count: { at_least: 5, per: day }"),
              ElementsAre(StartsWith("live.page_count.per: must be session")));
  EXPECT_THAT(CheckLive("page_count: { at_least: 5, within: 91d }"),
              ElementsAre(HasSubstr("1s to 90d is allowed")));
  for (const char* count : {"0", "1001", "-1"}) {
    EXPECT_THAT(CheckLive(std::string("page_count: { per: session, at_least: ") + count + " }"),
                ElementsAre("live.page_count.at_least: must be a whole number from 1 to 1000"));
  }
}

TEST(CheckSegment, ConditionsHaveOneOperator) {
  EXPECT_THAT(CheckCondition("property: p"),
              ElementsAre(StartsWith(std::string(kCondition) +
                                     ": has no operator; write exactly one of equals,")));
  EXPECT_THAT(
      CheckCondition("property: p, equals: 1, contains: x, exists: true"),
      ElementsAre(
          std::string(kCondition) +
          ": has several operators (equals, contains, exists); write one in each condition"));
  EXPECT_THAT(CheckCondition("equals: 1"),
              ElementsAre(StartsWith(std::string(kCondition) + ".property: is missing")));
}

TEST(CheckSegment, OperandsNameTheirPath) {
  const std::pair<const char*, const char*> cases[] = {
      {"property: p, matches: (", ".matches: is no regular expression of RE2"},
      {"property: p, matches: '(\\pL{300}){3}'",
       ".matches: the regular expression takes more than RE2's limit"},
      {"property: p, matches: 'a{1001}'",
       ".matches: is no regular expression of RE2: invalid repetition size: {1001}; repetitions go "
       "to 1,000, those within each other multiplied, and {n,m} from the smaller number"},
      {"property: p, before: tomorrow", ".before: must be a date such as"},
      {"property: p, after: 2026-02-30", ".after: must be a date such as"},
      {"property: p, within_last: 0s", ".within_last: must be longer than 0"},
      {"property: p, within_last: 540d1ms",
       ".within_last: is out of bounds; at most 540d is allowed"},
      {"property: p, within_next: 541d", ".within_next: is out of bounds; at most 540d is allowed"},
      {"property: p, within_next: 1y", ".within_next: \"1y\" is no duration"},
      {"property: p, between: [ 1 ]", ".between: must be a list of two"},
      {"property: p, between: [ 1, 2, 3 ]", ".between: must be a list of two"},
      {"property: p, between: [ 2, 1 ]", ".between: low must not be greater than high"},
      {"property: p, between: [ 1, a ]",
       ".between: low and high must be two numbers or two strings"},
      {"property: p, at_most: true", ".at_most: true and false have no order"},
      {"property: p, exists: true, ignore_case: true", ".exists: has no use for ignore_case"},
      {"property: p, within_last: 1d, ignore_case: true",
       ".within_last: has no use for ignore_case"},
      {"property: a..b, equals: 1", ".property: is no path"},
      {"property: .a, equals: 1", ".property: is no path"},
      {"property: a., equals: 1", ".property: is no path"},
      {"property: '[]', equals: 1", ".property: is no path"},
      {"property: 'a.[].b', equals: 1", ".property: is no path"},
      {"property: 'a[]b', equals: 1", ".property: is no path"},
      {"property: 'items[0].sku', equals: 1", ".property: one element of a list can't be named"},
  };
  for (const auto& [condition, problem] : cases) {
    EXPECT_THAT(CheckCondition(condition),
                ElementsAre(StartsWith(std::string(kCondition) + problem)))
        << condition;
  }
  for (const char* path :
       {"a", "a.b.c", "items[].sku", "rows[][].x", "tags[]", "utm[source]", "price in €", "[x]"}) {
    EXPECT_THAT(CheckCondition(std::string("equals: 1, property: \"") + path + "\""), IsEmpty())
        << path;
  }
}

TEST(CheckSegment, ValuesHaveAtMostOneKibibyte) {
  const std::string most(1024, 'v');
  const std::string more = most + "v";
  for (const char* op : {"equals", "greater_than", "contains", "starts_with", "matches"}) {
    EXPECT_THAT(CheckCondition(std::string("property: p, ") + op + ": " + most), IsEmpty()) << op;
    EXPECT_THAT(CheckCondition(std::string("property: p, ") + op + ": " + more),
                ElementsAre(std::string(kCondition) + "." + op +
                            ": has 1025 bytes; at most 1024 are allowed"));
  }
  EXPECT_THAT(CheckCondition("property: p, in: [ a, " + more + " ]"),
              ElementsAre(StartsWith(std::string(kCondition) + ".in[1]: has 1025 bytes")));
  EXPECT_THAT(CheckCondition("property: p, between: [ a, " + more + " ]"),
              ElementsAre(StartsWith(std::string(kCondition) + ".between[1]: has 1025")));
}

TEST(CheckSegment, ANumberInQuotesHasNoOrder) {
  const std::string condition(kCondition);
  for (const char* quoted : {"greater_than: '5'", "at_least: '-0.5'", "less_than: '1e3'",
                             "at_most: '.5'", "at_most: ' 5'", "at_most: '5 '"}) {
    EXPECT_THAT(CheckCondition(absl::StrCat("property: p, ", quoted)),
                ElementsAre(testing::AllOf(StartsWith(condition),
                                           testing::HasSubstr("without quotes, and versions"))))
        << quoted;
  }
  EXPECT_THAT(CheckCondition("property: p, between: [ '1', '5' ]"),
              ElementsAre(StartsWith(condition + ".between[0]: \"1\" in quotes"),
                          StartsWith(condition + ".between[1]: \"5\" in quotes")));
  EXPECT_THAT(CheckCondition("property: p, between: [ a, '5' ]"),
              ElementsAre(StartsWith(condition + ".between[1]: \"5\" in quotes")));
  for (const char* text : {"greater_than: 5.1.2", "at_least: '2026-04-01'", "at_most: 'inf'",
                           "equals: '5'", "not_equals: '5'", "in: [ '5', '6' ]"}) {
    EXPECT_THAT(CheckCondition(absl::StrCat("property: p, ", text)), testing::IsEmpty()) << text;
  }
}

TEST(CheckSegment, ListsAreBounded) {
  EXPECT_THAT(CheckCondition("property: p, in: [ " + Repeat(10'000, "1") + " ]"), IsEmpty());
  EXPECT_THAT(CheckCondition("property: p, in: [ " + Repeat(10'001, "1") + " ]"),
              ElementsAre(HasSubstr("at most 10000")));
}

// What no text can say, but a request over gRPC can.
TEST(CheckSegment, OperandsOfNoType) {
  pb::Segment segment = Read(
      "{ name: S, live: { actions: { any_of: [ { event: E, where: [ { property: p, equals: 1 } ] } "
      "] } } }");
  auto* condition = segment.mutable_live()->mutable_actions()->mutable_any_of(0)->mutable_where(0);
  condition->mutable_equals()->clear_kind();
  EXPECT_THAT(Check(segment), ElementsAre(std::string(kCondition) +
                                          ".equals: must be a string, a number, true or false"));
  condition->mutable_equals()->set_null_value(google::protobuf::NULL_VALUE);
  EXPECT_THAT(Check(segment), ElementsAre(HasSubstr("must be a string, a number, true or false")));
  condition->mutable_equals()->set_number_value(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(Check(segment), ElementsAre(HasSubstr("finite")));
  condition->clear_equals();
  condition->mutable_in();
  EXPECT_THAT(Check(segment),
              ElementsAre(std::string(kCondition) + ".in: the list must not be empty"));
  segment.mutable_live()->mutable_filter();
  condition->mutable_in()->add_values()->set_bool_value(true);
  EXPECT_THAT(Check(segment),
              ElementsAre(StartsWith("live.filter: must have exactly one of did,")));
}

TEST(CheckSegment, AHundredConditions) {
  const auto with = [](int conditions) {
    std::string events;
    for (; conditions > 0; conditions -= 20) {
      events += "{ event: E, where: [ " +
                Repeat(std::min(conditions, 20), "{ property: p, equals: 1 }") + " ] }, ";
    }
    return CheckLive("actions: { any_of: [ " + events + " ] }");
  };
  EXPECT_THAT(with(100), IsEmpty());
  EXPECT_THAT(with(101),
              ElementsAre(StartsWith("live: has 101 conditions; at most 100 are allowed")));
  // Everything counts: triggers, exits and the filter.
  const std::string fifty = Repeat(50, "{ property: p, equals: 1 }");
  const std::string live = "actions: { any_of: [ { event: E, where: [ " + fifty +
                           " ] } ] }, exit: { on: [ { event: F, where: [ " + fifty + " ] } ] }";
  EXPECT_THAT(CheckLive(live), IsEmpty());
  EXPECT_THAT(CheckLive(live + ", filter: { property: { property: p, equals: 1 } }"),
              ElementsAre(StartsWith("live: has 101")));
  EXPECT_THAT(Check("{ name: S, past_behavior: { any_of: [ " +
                    Repeat(101, "{ did: { event: E } }") + " ] } }"),
              ElementsAre(StartsWith("past_behavior: has 101 conditions")));
}

TEST(CheckSegment, EightLevels) {
  const auto nested = [](int levels) {
    std::string expression = "{ property: { property: p, equals: 1 } }";
    for (int i = 1; i < levels; ++i) {
      expression = i % 2 ? absl::StrCat("{ not: ", expression, " }")
                         : absl::StrCat("{ all_of: [ ", expression, " ] }");
    }
    return CheckLive(std::string(kActions) + ", filter: " + expression);
  };
  EXPECT_THAT(nested(8), IsEmpty());
  EXPECT_THAT(nested(9), ElementsAre(HasSubstr(": is nested deeper than 8 levels")));
  EXPECT_THAT(nested(14), ElementsAre(HasSubstr(": is nested deeper than 8 levels")));
}

TEST(CheckSegment, NestingOfARequestIsNoDanger) {
  pb::Segment segment = Read("{ name: S, live: { " + std::string(kActions) + " } }");
  pb::Expression* at = segment.mutable_live()->mutable_filter();
  for (int i = 0; i < 500; ++i) at = at->mutable_not_();
  EXPECT_THAT(Check(segment), ElementsAre(HasSubstr("deeper than 8")));
}

TEST(CheckSegment, ExpressionsHaveExactlyOne) {
  const auto filter = [](const std::string& text) {
    return CheckLive(std::string(kActions) + ", filter: " + text);
  };
  EXPECT_THAT(filter("{}"), ElementsAre("live.filter: must have exactly one of did, did_not, "
                                        "property, in_segment, all_of, any_of and not"));
  EXPECT_THAT(filter("{ property: { property: p, equals: 1 }, not: { property: { property: p, "
                     "equals: 1 } } }"),
              ElementsAre(StartsWith("live.filter: must have exactly one")));
  EXPECT_THAT(filter("{ any_of: [ { property: { property: p, equals: 1 } }, { property: { "
                     "property: p } } ] }"),
              ElementsAre(StartsWith("live.filter.any_of[1].property: has no operator")));
}

TEST(CheckSegment, MembersWithoutARuleAreNotRunYet) {
  EXPECT_THAT(Check(std::string("{ name: S, api: { customer_segment_id: SEG1 } }")),
              ElementsAre(StartsWith("?api: ")));
  EXPECT_THAT(Check(std::string("{ name: S, custom_list: {} }")),
              ElementsAre(StartsWith("?custom_list: ")));
  EXPECT_THAT(Check(std::string("{ name: S, api: {} }")),
              ElementsAre(StartsWith("api.customer_segment_id: is missing"), StartsWith("?api")));
}

TEST(CheckSegment, Dates) {
  const auto date = [](const std::string& text) {
    return CheckLive("date_time: { property: p, " + text + " }");
  };
  for (const char* offset : {"3650d", "-3650d", "0s", "-1h30m"}) {
    EXPECT_THAT(date(std::string("offset: ") + offset), IsEmpty()) << offset;
  }
  for (const char* offset : {"3651d", "-3650d1ms", "5", "5 days", "+5d"}) {
    EXPECT_THAT(date(std::string("offset: \"") + offset + "\""),
                ElementsAre(StartsWith("live.date_time.offset: ")))
        << offset;
  }
  EXPECT_THAT(date("at: \"23:59:59\""), IsEmpty());
  for (const char* at :
       {"9:00", "24:00", "09:00Z", "09:00:0", "noon", "09:00:00.000", "09:00+01"}) {
    EXPECT_THAT(date(std::string("at: \"") + at + "\""),
                ElementsAre(StartsWith("live.date_time.at: is no time of day")))
        << at;
  }
  EXPECT_THAT(date("at: \"09:00\", time_zone: ../../etc/passwd"),
              ElementsAre(StartsWith(
                  "live.date_time.time_zone: \"../../etc/passwd\" is no known time zone")));
  EXPECT_THAT(date("at: \"09:00\", time_zone: Europe/Atlantis"),
              ElementsAre(HasSubstr("write an IANA name such as Asia/Kolkata")));
  EXPECT_THAT(date("offset: -5d, time_zone: Asia/Kolkata"), IsEmpty());
  EXPECT_THAT(date("recurring: monthly"),
              ElementsAre(StartsWith("live.date_time.recurring: must be yearly")));
  EXPECT_THAT(CheckLive("date_time: {}"),
              ElementsAre(StartsWith("live.date_time.property: is missing")));
  EXPECT_THAT(CheckLive("date_time: { property: a..b }"),
              ElementsAre(StartsWith("live.date_time.property: is no path")));
}

TEST(CheckSegment, Sequences) {
  const auto steps = [](const std::string& text) {
    return CheckLive("sequence: { steps: [ " + text + " ] }");
  };
  EXPECT_THAT(steps(Repeat(10, "{ event: E }")), IsEmpty());
  EXPECT_THAT(steps(Repeat(11, "{ event: E }")),
              ElementsAre("live.sequence.steps: has 11 steps; 2 to 10 are allowed"));
  EXPECT_THAT(steps("{ event: E }"),
              ElementsAre("live.sequence.steps: has 1 step; 2 to 10 are allowed"));
  EXPECT_THAT(CheckLive("sequence: {}"),
              ElementsAre("live.sequence.steps: has 0 steps; 2 to 10 are allowed"));
  EXPECT_THAT(
      steps("{ event: A, within: 1h }, { event: B }"),
      ElementsAre(StartsWith("live.sequence.steps[0].within: must be left out of the first step")));
  EXPECT_THAT(steps("{ did_not: { event: A }, within: 1h }, { event: B }"),
              ElementsAre(StartsWith("live.sequence.steps[0]: must be an event")));
  EXPECT_THAT(steps("{ event: A }, { did_not: { event: B } }"),
              ElementsAre(StartsWith("live.sequence.steps[1].within: is missing")));
  EXPECT_THAT(steps("{ event: A }, { event: B, did_not: { event: C }, within: 1h }"),
              ElementsAre(StartsWith("live.sequence.steps[1]: has an event and did_not")));
  EXPECT_THAT(steps("{ event: A }, { did_not: { event: C }, within: 1h, "
                    "where: [ { property: p, equals: 1 } ] }"),
              ElementsAre(StartsWith("live.sequence.steps[1]: has an event and did_not")));
  EXPECT_THAT(steps("{ event: A }, { did_not: {}, within: 1h }"),
              ElementsAre(StartsWith("live.sequence.steps[1].did_not.event: is missing")));
  EXPECT_THAT(steps("{ event: A }, {}"),
              ElementsAre(StartsWith("live.sequence.steps[1]: is empty")));
  EXPECT_THAT(steps("{ event: A }, { where: [ { property: p, equals: 1 } ] }"),
              ElementsAre(StartsWith("live.sequence.steps[1].event: is missing")));
  EXPECT_THAT(steps("{ event: A }, { event: B, where: [ { property: p } ] }"),
              ElementsAre(StartsWith("live.sequence.steps[1].where[0]: has no operator")));
  for (const char* within : {"999ms", "90d1ms", "-1h", "soon"}) {
    EXPECT_THAT(steps(std::string("{ event: A }, { event: B, within: ") + within + " }"),
                ElementsAre(StartsWith("live.sequence.steps[1].within: ")))
        << within;
  }
}

TEST(CheckSegment, TheGuard) {
  const auto guard = [](const std::string& number) {
    return Check("{ name: S, live: { " + std::string(kActions) +
                 " }, shadow: true, max_changes_per_minute: " + number + " }");
  };
  EXPECT_THAT(guard("0"), IsEmpty());
  EXPECT_THAT(guard("1000"), IsEmpty());
  EXPECT_THAT(guard("-1"), ElementsAre(StartsWith("max_changes_per_minute: must be 0")));
}

std::vector<std::string> CheckDid(const std::string& did) {
  return Check("{ name: S, past_behavior: { did: { event: E, " + did + " } } }");
}

TEST(CheckSegment, Did) {
  for (const char* did : {
           "where: [ { property: p, equals: 1 } ]",
           "within_last: 540d",
           "during: yesterday, time_zone: America/New_York",
           "during: last_week, week_starts: sunday",
           "during: this_year, count: { at_least: 2, at_most: 5 }",
           ("between: { from: 2026-04-01, to: 2026-06-01 }, time_zone: America/New_York, "
            "average: { property: revenue, greater_than: 10 }"),
           "first_time: true, within_last: 30d",
           "within_last: 30d, count: { less_than: 5 }, include_users_who_did_not: true",
           "sum: { property: 'items[].price', at_least: -5, not_equals: 0 }",
           // 09:00 in New York comes after 12:00 in UTC, though it reads as before.
           ("between: { from: '2026-04-01T12:00Z', to: '2026-04-01T09:00' }, "
            "time_zone: America/New_York"),
       }) {
    EXPECT_THAT(CheckDid(did), IsEmpty()) << did;
  }
  const std::pair<const char*, const char*> cases[] = {
      {"where: [ { property: p } ]", ".where[0]: has no operator"},
      {"within_last: 541d", ".within_last: 541d is out of bounds; 1ms to 540d is allowed"},
      {"within_last: 1d, during: today",
       ": must have at most one of within_last, between and during"},
      {"during: next_week", ".during: must be one of today,"},
      {"between: { from: 2026-04-01, to: 2026-04-01 }", ".between: from must be before to"},
      {"between: { from: '2026-04-01T09:00', to: '2026-04-01T12:00Z' }, "
       "time_zone: America/New_York",
       ".between: from must be before to"},
      // Both are the moment of the change.
      {"between: { from: '2026-03-29T02:15', to: '2026-03-29T02:45' }, time_zone: Europe/Berlin",
       ".between: from must be before to"},
      {"between: { from: soon, to: 2026-04-01 }", ".between.from: must be a date"},
      {"between: { from: 2026-04-01 }", ".between.to: must be a date"},
      {"during: today, time_zone: 'New York!'", ".time_zone: \"New York!\" is no known time zone"},
      {"during: today, time_zone: Europe/Atlantis", ".time_zone: \"Europe/Atlantis\" is no known"},
      {"time_zone: Europe/Berlin", ".time_zone: has no use without between or during"},
      {"within_last: 1d, time_zone: Europe/Berlin", ".time_zone: has no use without between"},
      {"during: this_week, week_starts: tuesday", ".week_starts: must be monday or sunday"},
      {"during: this_month, week_starts: sunday", ".week_starts: has no use without during: this"},
      {"week_starts: sunday", ".week_starts: has no use without"},
      {"count: {}", ".count: must have at least one of equals,"},
      {"sum: { at_least: 1 }", ".sum.property: is missing"},
      {"sum: { property: a..b, at_least: 1 }", ".sum.property: is no path"},
      {"average: { property: revenue }", ".average: must have at least one of equals,"},
  };
  for (const auto& [did, problem] : cases) {
    EXPECT_THAT(CheckDid(did), ElementsAre(StartsWith(std::string("past_behavior.did") + problem)))
        << did;
  }
  EXPECT_THAT(Check(std::string("{ name: S, past_behavior: { in_segment: Power Users } }")),
              ElementsAre(StartsWith("past_behavior.in_segment: is no segment ID")));
  EXPECT_THAT(Check(std::string("{ name: S, past_behavior: {} }")),
              ElementsAre(StartsWith("past_behavior: must have exactly one of did,")));
  EXPECT_THAT(Check(std::string("{ name: S, past_behavior: { not: {} } }")),
              ElementsAre(StartsWith("past_behavior.not: must have exactly one of did,")));
}

TEST(CheckSegment, WhatIsKeptOfAUserIsBounded) {
  EXPECT_THAT(CheckDid("within_last: 1d, count: { at_least: 20000 }"), IsEmpty());
  for (const char* op :
       {"equals", "not_equals", "greater_than", "at_least", "less_than", "at_most"}) {
    EXPECT_THAT(CheckDid(std::string("count: { ") + op + ": 20001 }"), IsEmpty());
    EXPECT_THAT(CheckDid(std::string("within_last: 1d, count: { ") + op + ": 20001 }"),
                ElementsAre(std::string("past_behavior.did.count.") + op +
                            ": must be at most 20000: no more events are counted"));
  }
  // Sums are of any size.
  EXPECT_THAT(CheckDid("sum: { property: p, at_least: 1e12 }"), IsEmpty());
  const auto all_of = [](const std::string& text) {
    return Check("{ name: S, past_behavior: { all_of: [ " + text + " ] } }");
  };
  const std::string counted = "{ did: { event: E, within_last: 90d, count: { at_least: 10000 } } }";
  const std::string equal = "{ did_not: { event: E, within_last: 90d, count: { equals: 10000 } } }";
  const std::string once = "{ did: { event: E, within_last: 1d } }";
  EXPECT_THAT(all_of(Repeat(2, counted)), IsEmpty());
  EXPECT_THAT(all_of(counted + ", " + counted + ", " + once),
              ElementsAre(StartsWith("past_behavior: would keep up to 20001 values of each user, "
                                     "most of them (10000) for past_behavior.all_of[0].did.count; "
                                     "at most 20000 are allowed")));
  EXPECT_THAT(all_of(once + ", " + counted + ", { not: " + equal + " }"),
              ElementsAre(StartsWith(
                  "past_behavior: would keep up to 20002 values of each user, most of them (10001) "
                  "for past_behavior.all_of[2].not.did_not.count; at most 20000")));
  // Ranges that do not slide keep a number.
  const std::string standing = "{ did: { event: E, during: today, count: { at_least: 19000 } } }";
  EXPECT_THAT(all_of(Repeat(3, standing)), IsEmpty());
  const std::string summed =
      "{ did: { event: E, within_last: 90d, sum: { property: p, at_least: "
      "7 } } }";
  EXPECT_THAT(all_of(Repeat(9, summed)), IsEmpty());
  EXPECT_THAT(all_of(Repeat(10, summed)), ElementsAre(HasSubstr("would keep up to 20480 values")));
  EXPECT_THAT(
      CheckLive(std::string(kActions) + ", filter: { all_of: [ " + Repeat(10, summed) + " ] }"),
      ElementsAre(StartsWith("live.filter: would keep up to 20480 values")));
}

TEST(CheckSegment, TellsAllThatIsWrongUpToAHundred) {
  EXPECT_THAT(Check(std::string("{ id: X, live: { actions: { any_of: [ { where: [ { property: p }, "
                                "{ property: q, matches: ( } ] } ] }, exit: {} } }")),
              ElementsAre(StartsWith("name: "), StartsWith("id: "),
                          StartsWith("live.actions.any_of[0].event: "),
                          StartsWith("live.actions.any_of[0].where[0]: "),
                          StartsWith("live.actions.any_of[0].where[1].matches: "),
                          StartsWith("live.exit: ")));
  EXPECT_EQ(CheckLive("actions: { any_of: [ { event: E, where: [ " +
                      Repeat(500, "{ property: p }") + " ] } ] }")
                .size(),
            100u);
}

}  // namespace
}  // namespace segmentd
