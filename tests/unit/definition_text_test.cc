#include "segment/definition_text.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

#include "segment/definition_check.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// The gallery of the specification, as it stands there.
constexpr std::string_view kGallery = R"(# 1 single action
name: Booked a ticket
live: { actions: { any_of: [ { event: Ticket Booked } ] } }
---
# 2 any of several triggers (1 to 10), each with property conditions (all must hold)
name: Back again
live:
  actions:
    any_of:
      - { event: App Launched }
      - { event: UTM Visited, where: [ { property: utm_source, equals: facebook } ] }
      - { event: Notification Clicked, where: [ { property: campaign_id, in: [ 7, 8 ] } ] }
  exit: { after: 24h }          # leaves 24 h after last qualifying; or on: [conditions]; or never: true
---
# 3 inaction within time, with a filter on past behaviour and common properties
name: Added to cart but no charge within 10 minutes
live:
  inaction:
    trigger: { event: Added to Cart, where: [ { property: amount, greater_than: 500 } ] }
    does_not_do: [ { event: Charged } ]   # any of these cancels
    within: 10m
    restart: false               # true: each further trigger starts the 10 minutes again
    # match: cart_id             # optional: only a does_not_do with the same value of this property cancels
  filter:
    all_of:
      - did: { event: App Launched, within_last: 30d, count: { at_least: 2 } }
      - property: { property: country, equals: IN }
---
# 4 on a date/time property
name: Appointment in five days
live: { date_time: { property: appointment_at, offset: -5d, at: "09:00", time_zone: Asia/Kolkata } }
---
# 5 page visit   6 referrer entry   7 page count
name: Read the resources
live: { page_visit: { url: { starts_with: "https://example.com/resources" } } }
---
name: Came from the partner
live: { referrer: { url: { contains: partner.example.org } } }
---
name: Looked at five pages
live: { page_count: { at_least: 5, distinct_urls: false, per: session } }   # or  within: 24h
---
# 8 past behaviour: actions, inactions and properties, combined
name: Lapsed big spenders in New York
past_behavior:
  all_of:
    - did: { event: Charged, within_last: 90d, sum: { property: amount, greater_than: 700 } }
    - did_not: { event: Charged, within_last: 14d }
    - any_of:
      - property: { property: city, equals: New York }
      - property: { property: home_city, equals: New York }
    - not: { in_segment: power-users }
---
# 9 an absolute range, and an average that counts a missing value as 0
name: Spring buyers
past_behavior:
  did: { event: Charged, between: { from: 2026-04-01, to: 2026-06-01 }, time_zone: America/New_York,
         average: { property: revenue, greater_than: 10 } }
---
# 10 first time, and users who did not do the event at all counted as zero
name: New here
past_behavior: { did: { event: App Launched, first_time: true, within_last: 30d } }
---
name: Fewer than five charges
past_behavior: { did: { event: Charged, within_last: 30d, count: { less_than: 5 }, include_users_who_did_not: true } }
---
# 11 include and exclude, by ID
id: power-users
name: Power users
past_behavior: { did: { event: Charged, within_last: 90d, count: { at_least: 3 } } }
---
id: cart-lovers
name: Cart lovers
past_behavior: { did: { event: Added to Cart, within_last: 30d, count: { at_least: 5 } } }
---
name: Discount audience
past_behavior:
  all_of:
    - did: { event: Added to Cart, within_last: 30d }
    - in_segment: cart-lovers
    - not: { in_segment: power-users }
---
# 12 lists and API segments have no rule
name: Gold users
api: { customer_segment_id: SEG12345 }
---
name: Store visitors in Pune
custom_list: {}
)";

struct Entry {
  const char* message;
  bool runs;
  int line;
};
const Entry kEntries[] = {
    {"name: 'Booked a ticket' live { actions { any_of { event: 'Ticket Booked' } } }", true, 2},
    {R"(name: 'Back again'
        live {
          actions {
            any_of { event: 'App Launched' }
            any_of {
              event: 'UTM Visited'
              where { property: 'utm_source' equals { string_value: 'facebook' } }
            }
            any_of {
              event: 'Notification Clicked'
              where { property: 'campaign_id' in { values { number_value: 7 } values { number_value: 8 } } }
            }
          }
          exit { after: '24h' }
        })",
     true, 6},
    {R"(name: 'Added to cart but no charge within 10 minutes'
        live {
          inaction {
            trigger {
              event: 'Added to Cart'
              where { property: 'amount' greater_than { number_value: 500 } }
            }
            does_not_do { event: 'Charged' }
            within: '10m'
          }
          filter {
            all_of { did { event: 'App Launched' within_last: '30d' count { at_least: 2 } } }
            all_of { property { property: 'country' equals { string_value: 'IN' } } }
          }
        })",
     true, 16},
    {R"(name: 'Appointment in five days'
        live { date_time { property: 'appointment_at' offset: '-5d' at: '09:00' time_zone: 'Asia/Kolkata' } })",
     true, 30},
    {"name: 'Read the resources' live { page_visit { url { starts_with: "
     "'https://example.com/resources' } } }",
     true, 34},
    {"name: 'Came from the partner' live { referrer { url { contains: 'partner.example.org' } } }",
     true, 37},
    {"name: 'Looked at five pages' live { page_count { at_least: 5 per: 'session' } }", true, 40},
    {R"(name: 'Lapsed big spenders in New York'
        past_behavior {
          all_of { did { event: 'Charged' within_last: '90d' sum { property: 'amount' greater_than: 700 } } }
          all_of { did_not { event: 'Charged' within_last: '14d' } }
          all_of {
            any_of { property { property: 'city' equals { string_value: 'New York' } } }
            any_of { property { property: 'home_city' equals { string_value: 'New York' } } }
          }
          all_of { not { in_segment: 'power-users' } }
        })",
     true, 44},
    {R"(name: 'Spring buyers'
        past_behavior {
          did {
            event: 'Charged'
            between { from: '2026-04-01' to: '2026-06-01' }
            time_zone: 'America/New_York'
            average { property: 'revenue' greater_than: 10 }
          }
        })",
     true, 55},
    {"name: 'New here' past_behavior { did { event: 'App Launched' first_time: true within_last: "
     "'30d' } }",
     true, 61},
    {R"(name: 'Fewer than five charges'
        past_behavior {
          did { event: 'Charged' within_last: '30d' count { less_than: 5 } include_users_who_did_not: true }
        })",
     true, 64},
    {R"(id: 'power-users' name: 'Power users'
        past_behavior { did { event: 'Charged' within_last: '90d' count { at_least: 3 } } })",
     true, 68},
    {R"(id: 'cart-lovers' name: 'Cart lovers'
        past_behavior { did { event: 'Added to Cart' within_last: '30d' count { at_least: 5 } } })",
     true, 72},
    {R"(name: 'Discount audience'
        past_behavior {
          all_of { did { event: 'Added to Cart' within_last: '30d' } }
          all_of { in_segment: 'cart-lovers' }
          all_of { not { in_segment: 'power-users' } }
        })",
     true, 76},
    {"name: 'Gold users' api { customer_segment_id: 'SEG12345' }", false, 84},
    {"name: 'Store visitors in Pune' custom_list {}", false, 87},
};

pb::Segment Message(const std::string& text) {
  pb::Segment segment;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &segment)) << text;
  return segment;
}

std::vector<SegmentDocument> Read(std::string_view text) {
  auto documents = ReadSegmentDocuments(text);
  EXPECT_TRUE(documents.ok()) << text << "\n" << documents.status();
  return documents.ok() ? *std::move(documents) : std::vector<SegmentDocument>();
}

// The one segment of a text without violations.
pb::Segment ReadOne(std::string_view text) {
  const std::vector<SegmentDocument> documents = Read(text);
  if (documents.size() != 1) {
    ADD_FAILURE() << documents.size() << " documents in " << text;
    return {};
  }
  for (const Violation& violation : documents[0].violations) {
    ADD_FAILURE() << violation.path << ": " << violation.message;
  }
  return documents[0].segment;
}

std::vector<std::string> Violations(std::string_view text) {
  std::vector<std::string> lines;
  for (const SegmentDocument& document : Read(text)) {
    for (const Violation& v : document.violations) lines.push_back(v.path + ": " + v.message);
  }
  return lines;
}

std::string Error(std::string_view text) {
  const auto documents = ReadSegmentDocuments(text);
  if (documents.ok()) return "read";
  EXPECT_EQ(documents.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(documents.status().message());
}

// The operand of `equals` as it is read.
std::string Equals(const std::string& scalar) {
  const pb::Segment segment = ReadOne(
      "{ name: S, live: { actions: { any_of: [ { event: E, where: [ { property: p, equals: " +
      scalar + " } ] } ] } } }");
  if (segment.live().actions().any_of_size() == 0) return "unread";
  return segment.live().actions().any_of(0).where(0).equals().ShortDebugString();
}

#define EXPECT_SAME(a, b)                                               \
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(a, b)) \
      << (a).ShortDebugString() << "\n"                                 \
      << (b).ShortDebugString()

TEST(Gallery, IsReadAsItStands) {
  const std::vector<SegmentDocument> documents = Read(kGallery);
  ASSERT_EQ(documents.size(), std::size(kEntries));
  for (size_t i = 0; i < documents.size(); ++i) {
    EXPECT_THAT(documents[i].violations, IsEmpty());
    EXPECT_SAME(documents[i].segment, Message(kEntries[i].message));
    EXPECT_EQ(documents[i].line, kEntries[i].line);
  }
}

TEST(Gallery, RunsButForMembersWithoutARule) {
  const std::vector<SegmentDocument> documents = Read(kGallery);
  ASSERT_EQ(documents.size(), std::size(kEntries));
  for (size_t i = 0; i < documents.size(); ++i) {
    const std::vector<Violation> violations = CheckSegment(documents[i].segment);
    EXPECT_EQ(violations.empty(), kEntries[i].runs) << documents[i].segment.name();
    for (const Violation& violation : violations) {
      EXPECT_TRUE(violation.unimplemented) << violation.path << ": " << violation.message;
    }
  }
}

TEST(Gallery, IsWrittenSoThatReadingGivesTheSame) {
  std::string yaml;
  std::string json;
  for (const Entry& entry : kEntries) {
    const pb::Segment segment = Message(entry.message);
    EXPECT_SAME(ReadOne(SegmentToYaml(segment)), segment);
    EXPECT_SAME(ReadOne(SegmentToJson(segment)), segment);
    const auto stored = SegmentFromJson(SegmentToJson(segment));
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_SAME(*stored, segment);
    yaml += (yaml.empty() ? "" : "---\n") + SegmentToYaml(segment);
    json += SegmentToJson(segment) + "\n";
  }
  const std::vector<SegmentDocument> from_yaml = Read(yaml);
  const std::vector<SegmentDocument> from_json = Read(json);
  ASSERT_EQ(from_yaml.size(), std::size(kEntries));
  ASSERT_EQ(from_json.size(), std::size(kEntries));
  for (size_t i = 0; i < std::size(kEntries); ++i) {
    EXPECT_SAME(from_yaml[i].segment, Message(kEntries[i].message));
    EXPECT_SAME(from_json[i].segment, Message(kEntries[i].message));
  }
}

TEST(SegmentToYaml, LooksLikeTheGallery) {
  EXPECT_EQ(SegmentToYaml(Message(kEntries[0].message)),
            "name: Booked a ticket\n"
            "live: { actions: { any_of: [ { event: Ticket Booked } ] } }\n");
  EXPECT_EQ(
      SegmentToYaml(Message(kEntries[1].message)),
      "name: Back again\n"
      "live:\n"
      "  actions:\n"
      "    any_of:\n"
      "      - { event: App Launched }\n"
      "      - { event: UTM Visited, where: [ { property: utm_source, equals: facebook } ] }\n"
      "      - { event: Notification Clicked, where: [ { property: campaign_id, in: [ 7, 8 ] } ] "
      "}\n"
      "  exit: { after: 24h }\n");
  EXPECT_EQ(SegmentToYaml(Message(kEntries[7].message)),
            "name: Lapsed big spenders in New York\n"
            "past_behavior:\n"
            "  all_of:\n"
            "    - did: { event: Charged, within_last: 90d, sum: { property: amount, greater_than: "
            "700 } }\n"
            "    - did_not: { event: Charged, within_last: 14d }\n"
            "    - any_of:\n"
            "        - property: { property: city, equals: New York }\n"
            "        - property: { property: home_city, equals: New York }\n"
            "    - not: { in_segment: power-users }\n");
  EXPECT_EQ(SegmentToYaml(Message(kEntries[15].message)),
            "name: Store visitors in Pune\ncustom_list: {}\n");
}

TEST(SegmentToYaml, QuotesWhatWouldReadAsSomethingElse) {
  for (const char* text :
       {"7",      "1.5",    "-3",    "1e3",  "0x10",  "0o17", ".inf", ".nan", "true",     "False",
        "null",   "~",      "",      " a",   "a ",    "no",   "NO",   "Yes",  "on",       "off",
        "y",      "N",      "1_000", "- a",  "-",     "?",    "a: b", "a #b", "#a",       "[a]",
        "{a}",    "a,b",    "&a",    "*a",   "!a",    "|",    ">",    "'a'",  "\"a\"",    "%a",
        "@a",     "`a`",    "a\nb",  "a\tb", "\t",    "---",  "...",  "a\\b", "http://x", "\u0085",
        "\u2028", "\uFEFF", "\x01",  "\x7f", "09:00", "=",    "<<"}) {
    pb::Segment segment;
    segment.set_name(text);
    segment.mutable_live()->mutable_exit()->set_after(text);
    auto* condition = segment.mutable_live()->mutable_actions()->add_any_of()->add_where();
    condition->mutable_equals()->set_string_value(text);
    if (segment.name().empty()) segment.set_name("S");
    EXPECT_SAME(ReadOne(SegmentToYaml(segment)), segment);
    EXPECT_SAME(ReadOne(SegmentToJson(segment)), segment);
  }
  for (const char* text :
       {"Ticket Booked", "New York", "Zürich", "東京", "24h", "-5d", "2026-04-01", "utm_source",
        "/pricing", "partner.example.org", "a-b", "it's"}) {
    pb::Segment segment;
    segment.set_name(text);
    EXPECT_EQ(SegmentToYaml(segment), std::string("name: ") + text + "\n");
    EXPECT_SAME(ReadOne(SegmentToYaml(segment)), segment);
  }
}

TEST(SegmentToYaml, LeavesOutWhatTheServerSets) {
  pb::Segment segment = Message(
      "id: 'a' name: 'S' version: 3 etag: 'e' status: SEGMENT_STATUS_ACTIVE created_by: 'me' "
      "updated_by: 'you' create_time { seconds: 1 } update_time { seconds: 2 } status_detail: 'd' "
      "paused: true build_progress: 0.5");
  EXPECT_EQ(SegmentToYaml(segment), "id: a\nname: S\n");
}

TEST(SegmentToYaml, WritesShadowAndGuard) {
  const pb::Segment segment = Message("name: 'S' shadow: true max_changes_per_minute: 500");
  EXPECT_EQ(SegmentToYaml(segment), "name: S\nshadow: true\nmax_changes_per_minute: 500\n");
  EXPECT_SAME(ReadOne(SegmentToYaml(segment)), segment);
}

TEST(SegmentJson, SaysWhatARecordIsInstead) {
  EXPECT_EQ(SegmentFromJson("[]").status().message(), "must be a mapping of fields, not a list");
}

TEST(SegmentJson, KeepsWhatTheServerSets) {
  const pb::Segment segment = Message(
      "id: '1739791829' name: 'Gold \"Users\"' live { actions { any_of { event: 'E' } } } version: "
      "3 etag: 'e' "
      "status: SEGMENT_STATUS_ACTIVE created_by: 'me' updated_by: 'you' create_time { seconds: "
      "1795339800 nanos: 120000000 } "
      "update_time { seconds: 1795339801 } status_detail: 'd' paused: true");
  const std::string json = SegmentToJson(segment);
  EXPECT_EQ(
      json,
      R"({"id":"1739791829","name":"Gold \"Users\"","live":{"actions":{"any_of":[{"event":"E"}]}},"version":3,)"
      R"("etag":"e","status":"SEGMENT_STATUS_ACTIVE","create_time":"2026-11-22T09:30:00.120Z",)"
      R"("update_time":"2026-11-22T09:30:01Z","created_by":"me","updated_by":"you","status_detail":"d","paused":true})");
  const auto stored = SegmentFromJson(json);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_SAME(*stored, segment);

  // What people send back: without it, but for the etag.
  EXPECT_SAME(ReadOne(json), Message("id: '1739791829' name: 'Gold \"Users\"' etag: 'e' live { "
                                     "actions { any_of { event: 'E' } } }"));
}

TEST(SegmentJson, IsReadStrictly) {
  for (const auto& [json, problem] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "a JSON object must stand here"},
           {"7", "a JSON object must stand here"},
           {"name: S", "a JSON object must stand here"},
           {"[]", "must be a mapping of fields, not a list"},
           {"{\"name\":\"S\"}{\"name\":\"T\"}", "one JSON object, and no more"},
           {"{\"name\":\"S\",\"nmae\":\"T\"}", "nmae: is no field here; did you mean name?"},
           {"{\"name\":\"S\",\"name\":\"T\"}", "name: stands twice"},
           {"{\"name\":null}", "name: is null"},
           {"{\"name\":7}", "name: must be a string, not a number"},
           {"{\"version\":\"3\"}",
            "version: must be a number, not a string; write it without quotes"},
           {"{\"version\":3.5}", "version: must be a whole number"},
           {"{\"status\":\"GREAT\"}", "status: is no SegmentStatus"},
           {"{\"create_time\":\"soon\"}", "create_time: must be a time such as"},
           {"{\"name\":7,\"id\":7}", "(and 1 more)"},
       }) {
    const auto segment = SegmentFromJson(json);
    ASSERT_FALSE(segment.ok()) << json;
    EXPECT_EQ(segment.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(segment.status().message()), HasSubstr(problem)) << json;
  }
}

TEST(Yaml, ScalarsAreOfTheCoreSchema) {
  for (const auto& [scalar, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"7", "number_value: 7"},
           {"-7", "number_value: -7"},
           {"+7", "number_value: 7"},
           {"007", "number_value: 7"},
           {"0o17", "number_value: 15"},
           {"0xfF", "number_value: 255"},
           {"1.5", "number_value: 1.5"},
           {"1.", "number_value: 1"},
           {".5", "number_value: 0.5"},
           {"-.5", "number_value: -0.5"},
           {"1e3", "number_value: 1000"},
           {"1.5E-1", "number_value: 0.15"},
           {"true", "bool_value: true"},
           {"True", "bool_value: true"},
           {"TRUE", "bool_value: true"},
           {"false", "bool_value: false"},
           {"tRUE", "string_value: \"tRUE\""},
           {"NO", "string_value: \"NO\""},
           {"no", "string_value: \"no\""},
           {"yes", "string_value: \"yes\""},
           {"on", "string_value: \"on\""},
           {"off", "string_value: \"off\""},
           {"\"7\"", "string_value: \"7\""},
           {"'7'", "string_value: \"7\""},
           {"\"true\"", "string_value: \"true\""},
           {"'null'", "string_value: \"null\""},
           {"\"\"", "string_value: \"\""},
           {"1_000", "string_value: \"1_000\""},
           {"0b11", "string_value: \"0b11\""},
           {"0o8", "string_value: \"0o8\""},
           {"0xg", "string_value: \"0xg\""},
           {"1e", "string_value: \"1e\""},
           {".", "string_value: \".\""},
           {"+", "string_value: \"+\""},
           {"1.2.3", "string_value: \"1.2.3\""},
           {"2026-04-01", "string_value: \"2026-04-01\""},
           {"0x", "string_value: \"0x\""},
           {"!!str 7", "string_value: \"7\""},
           {"!!int 7", "number_value: 7"},
           {"!!float 7", "number_value: 7"},
           {"!!bool true", "bool_value: true"},
           {"! 7", "string_value: \"7\""},
       }) {
    EXPECT_EQ(Equals(scalar), expected) << scalar;
  }
}

TEST(Yaml, OnIsAKey) {
  EXPECT_SAME(ReadOne("name: S\nlive:\n  exit:\n    on:\n      - { event: on }\n"),
              Message("name: 'S' live { exit { on { event: 'on' } } }"));
}

TEST(Yaml, DocumentsAreToldApart) {
  const auto names = [](std::string_view text) {
    std::vector<std::string> found;
    for (const SegmentDocument& document : Read(text)) {
      found.push_back(document.segment.name() + "@" + std::to_string(document.line));
    }
    return found;
  };
  EXPECT_THAT(names(""), IsEmpty());
  EXPECT_THAT(names(" \n# nothing\n"), IsEmpty());
  EXPECT_THAT(names("---\n---\n"), IsEmpty());
  EXPECT_THAT(names("name: a"), ElementsAre("a@1"));
  EXPECT_THAT(names("\xEF\xBB\xBFname: a\r\n---\r\nname: b\r\n"), ElementsAre("a@1", "b@3"));
  EXPECT_THAT(names("# c\n---\nname: a\n---\n# none\n---\nname: b\n...\n---\nname: c\n---\n"),
              ElementsAre("a@3", "b@7", "c@10"));
  EXPECT_THAT(names("name: a\n...\n# c\n\nname: b\n"), ElementsAre("a@1", "b@5"));
  EXPECT_THAT(names("%YAML 1.2\n---\nname: a\n"), ElementsAre("a@3"));
  EXPECT_THAT(names("{ name: a }\n---\n{ name: b }\n"), ElementsAre("a@1", "b@3"));
  EXPECT_THAT(names("{\"name\":\"a\"}\n{\"name\":\n\"b\"} {\"name\":\"c\"}"),
              ElementsAre("a@1", "b@2", "c@3"));
  EXPECT_THAT(names("[ \"x\" ]"), ElementsAre("@1"));
}

TEST(Yaml, WhatIsNoDocumentNamesLineAndColumn) {
  for (const auto& [text, problem] :
       std::initializer_list<std::pair<std::string_view, const char*>>{
           {"name: [1, 2\nid: 3", "line 2, column"},
           {"name: 'a", "line 1, column"},
           {"a: 1\n b: 2", "line 2, column"},
           {"name: a\n- b", "line 2, column 1"},
           {"a: b\n\tc: d", "line 2, column"},
           {"a: &x 1\nb: *x", "line 2, column 4: aliases"},
           {"a: *x", "line 1, column 4: the referenced anchor is not defined"},
           {"a: !color red", "line 1, column 4: the tag !color is not allowed"},
           {"a: !!int x", "line 1, column 4: the tag tag:yaml.org,2002:int is not allowed here"},
           {"a: !!set {}", "is not allowed"},
           {"? [a]\n: b", "a key must be a name"},
           {"{ ~: b }", "a key is empty"},
           {"{ name: a } { name: b }",
            "line 1, column 13: the document before ends here; write ---"},
           {"{\"name\":\"a\"},{\"name\":\"b\"}",
            "line 1, column 13: a JSON object must stand here"},
           {"{\"name\":\"a\"}]", "line 1, column 13: a JSON object must stand here"},
           {"{\"name\":\"a\"", "line 1, column 1: the JSON that starts here has no end"},
           {"{\"name\":\"a\"}\n{\"name\":\"a",
            "line 2, column 1: the JSON that starts here has no end"},
           {"{\"name\":\n\"a\" \"id\"}", "line 2, column"},
           {"{\"name\":\"\\x\"}", "line 1, column"},
           {"{\"name\":\"\\ud800\"}", "line 1, column"},
           {"a: \"\\N\"", "an escape here gives no UTF-8"},
           {"name: a\x04", "line 1, column 8: a control character is not allowed"},
           {std::string_view("name: \0", 7), "line 1, column 7: a control character"},
           {"name: \xff", "not UTF-8"},
           {"name: \xed\xa0\x80", "not UTF-8"},
       }) {
    EXPECT_THAT(Error(text), HasSubstr(problem)) << text;
  }
}

TEST(Yaml, HostileTextsAreBounded) {
  EXPECT_THAT(Error(std::string(1 << 20, ' ') + "a"), HasSubstr("at most 1048576"));
  EXPECT_THAT(Error(std::string(33, '[')), HasSubstr("line 1"));
  EXPECT_THAT(Error("a: " + std::string(40, '[') + std::string(40, ']')),
              HasSubstr("nested deeper than 32 levels"));
  EXPECT_THAT(Error("{\"a\":" + std::string(32, '[') + std::string(32, ']') + "}"),
              HasSubstr("nested deeper than 32 levels"));
  EXPECT_EQ(Error("{\"a\":" + std::string(31, '[') + std::string(31, ']') + "}"), "read");
  EXPECT_THAT(Error(std::string(1 << 20, '[')), HasSubstr("line 1"));
  EXPECT_THAT(Error(std::string(1 << 20, '{')), HasSubstr("line 1"));
  std::string laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c <= 'i'; ++c) {
    laughs += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 9; ++i) laughs += std::string(i ? ", *" : "*") + static_cast<char>(c - 1);
    laughs += "]\n";
  }
  EXPECT_THAT(Error(laughs), HasSubstr("aliases"));
  std::string wide;
  for (int i = 0; i < 100'000; ++i) wide += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(Violations(wide).size(), 100u);
  std::string twice;
  for (int i = 0; i < 100'000; ++i) twice += "name: a\n";
  EXPECT_EQ(Violations(twice).size(), 100u);
}

TEST(Shape, IsCheckedBeforeItIsMapped) {
  for (const auto& [text, problem] : std::initializer_list<std::pair<const char*, const char*>>{
           // Unknown fields.
           {"lvie: {}",
            "lvie: is no field here; did you mean live?; allowed are id, name, live, "
            "past_behavior, api, custom_list, "
            "etag, shadow, max_changes_per_minute (line 1)"},
           {"live: { actions: { any_off: [] } }",
            "live.actions.any_off: is no field here; did you mean any_of?; allowed are any_of, "
            "repeat"},
           {"live: { actions: { exit: { after: 5m } } }",
            "live.actions.exit: is no field here; it is one of live; allowed are"},
           {"live: { name: S }",
            "live.name: is no field here; it is one of the segment; allowed are"},
           {"custom_list: { a: b }", "custom_list.a: is no field here; none is allowed"},
           {"past_behavior: { did: { event: E, withinLast: 5d } }",
            "past_behavior.did.withinLast: is no field here; did you mean within_last?"},
           {"<<: {}", "<<: is no field here"},
           // Keys that stand twice.
           {"name: a\nname: b", "name: stands twice; write it once (line 2)"},
           {"{\"name\":\"a\",\"name\":\"a\"}", "name: stands twice; write it once (line 1)"},
           {"live: { exit: { after: 1h, after: 1h } }", "live.exit.after: stands twice"},
           {"live: {}\ncustom_list: {}",
            "custom_list: can't stand beside live; write one of them (line 2)"},
           // Nulls, empty lists, empty names.
           {"name:", "name: is null; write a string or leave it out"},
           {"live: ~", "live: is null; write a mapping of fields or leave it out"},
           {"live: { actions: { any_of: } }",
            "live.actions.any_of: is null; write a list or leave it out"},
           {"live: { actions: { any_of: [ null ] } }", "live.actions.any_of[0]: is null"},
           {"live: { actions: { any_of: [] } }", "live.actions.any_of: is an empty list"},
           {"past_behavior: { all_of: [] }", "past_behavior.all_of: is an empty list"},
           {"past_behavior: { property: { property: p, in: [] } }",
            "past_behavior.property.in: is an empty list"},
           {"past_behavior: { property: { property: p, in: [ 1, ~ ] } }",
            "past_behavior.property.in[1]: is null"},
           {"past_behavior: { property: { property: p, equals: ~ } }",
            "past_behavior.property.equals: is null"},
           {"name: \"\"", "name: is empty"},
           {"live: { actions: { any_of: [ { event: '' } ] } }",
            "live.actions.any_of[0].event: is empty"},
           {"past_behavior: { in_segment: '' }", "past_behavior.in_segment: is empty"},
           // Types.
           {"name: 7", "name: must be a string, not a number; write it in quotes"},
           {"name: true", "name: must be a string, not true or false; write it in quotes"},
           {"name: [ a ]", "name: must be a string, not a list"},
           {"name: { a: b }", "name: must be a string, not a mapping"},
           {"live: { inaction: { within: 10 } }",
            "live.inaction.within: must be a string, not a number; write it with its unit, such as "
            "10m"},
           {"live: yes", "live: must be a mapping of fields, not a string"},
           {"live: { actions: { any_of: { event: E } } }",
            "live.actions.any_of: must be a list, not a mapping"},
           {"live: { actions: { any_of: [ E ] } }",
            "live.actions.any_of[0]: must be a mapping of fields, not a string"},
           {"live: { exit: { never: yes } }",
            "live.exit.never: must be true or false, not a string; yes, no, on and off are "
            "strings"},
           {"live: { exit: { never: 1 } }", "live.exit.never: must be true or false, not a number"},
           {"live: { page_count: { at_least: \"5\" } }",
            "live.page_count.at_least: must be a number, not a string; write it without quotes"},
           {"live: { page_count: { at_least: 5.5 } }",
            "live.page_count.at_least: must be a whole number"},
           {"live: { page_count: { at_least: 1e300 } }",
            "live.page_count.at_least: must be a whole number"},
           {"live: { page_count: { at_least: .inf } }",
            "live.page_count.at_least: must be a finite number"},
           {"past_behavior: { did: { count: { at_least: '2' } } }",
            "past_behavior.did.count.at_least: must be a number, not a string"},
           {"past_behavior: { did: { count: { at_least: .nan } } }",
            "past_behavior.did.count.at_least: must be a finite number"},
           {"past_behavior: { property: { equals: 1e999 } }",
            "past_behavior.property.equals: must be a finite number"},
           {"past_behavior: { property: { equals: [ 1 ] } }",
            "past_behavior.property.equals: must be a string, a number, true or false, not a list; "
            "write in or not_in"},
           {"past_behavior: { property: { equals: { a: 1 } } }",
            "past_behavior.property.equals: must be a string, a number, true or false, not a "
            "mapping"},
           {"past_behavior: { property: { in: 7 } }",
            "past_behavior.property.in: must be a list such as [ 7, 8 ], not a number"},
           {"past_behavior: { property: { between: [ [ 1 ], 2 ] } }",
            "past_behavior.property.between[0]: must be a string, a number"},
           {"past_behavior: { property: { contains: 7 } }",
            "past_behavior.property.contains: must be a string, not a number; write it in quotes"},
           {"past_behavior: { property: { after: 20260401 } }",
            "past_behavior.property.after: must be a string, not a number; write a date such as "
            "2026-04-01"},
           {"past_behavior: { property: { before: 2026 } }",
            "past_behavior.property.before: must be a string, not a number; write a date such as"},
           {"past_behavior: { did: { between: { from: 2026 } } }",
            "past_behavior.did.between.from: must be a string, not a number; write a date such as"},
           {"live: { exit: { after: 7 } }",
            "live.exit.after: must be a string, not a number; write it with its unit, such as "
            "10m"},
           // The document itself.
           {"just a text", ": must be a mapping of fields, not a string (line 1)"},
           {"- name: a", ": must be a mapping of fields, not a list (line 1)"},
           {"7", ": must be a mapping of fields, not a number (line 1)"},
       }) {
    EXPECT_THAT(Violations(text), ElementsAre(StartsWith(problem))) << text;
  }
}

TEST(Shape, AllThatIsWrongIsTold) {
  EXPECT_THAT(
      Violations(
          "name: 7\nlive:\n  actions: { any_of: [ { evnt: E, where: [] } ] }\n---\nname: ~\n"),
      ElementsAre(StartsWith("name: must be a string, not a number; write it in quotes (line 1)"),
                  StartsWith("live.actions.any_of[0].evnt: is no field here; did you mean event?"),
                  "live.actions.any_of[0].where: is an empty list; write at least one or leave it "
                  "out (line 3)",
                  "name: is null; write a string or leave it out (line 5)"));
}

TEST(Shape, LongKeysAreShortenedBetweenCharacters) {
  std::string key;
  for (int i = 0; i < 100; ++i) key += "é";
  const std::vector<std::string> violations = Violations("x" + key + ": 1");
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].substr(0, 64), "x" + key.substr(0, 62) + ":");
}

TEST(Shape, WhatTheServerSetsMayStandThereAndMeansNothing) {
  EXPECT_SAME(ReadOne("name: S\nversion: 3\nstatus: SEGMENT_STATUS_ACTIVE\netag: e\npaused: true\n"
                      "create_time: 2026-11-22T09:30:00.120Z\ncreated_by: me\nstatus_detail: d\n"
                      "build_progress: 0.5\nresumed_version: 2\n"),
              Message("name: 'S' etag: 'e'"));
  EXPECT_THAT(
      Violations("name: S\nversion: ~\nstatus: { a: [ 1 ] }\ncreate_time: 7\ncreated_by: {}\n"
                 "update_time: null\npaused: maybe\nbuild_progress: [ what ]\n"),
      ElementsAre("version: is null; write a number or leave it out (line 2)",
                  "status: must be the name of a SegmentStatus, not a mapping (line 3)",
                  StartsWith("create_time: must be a time such as 2026-04-01T09:00:00Z, not a "
                             "number (line 4)"),
                  "created_by: must be a string, not a mapping (line 5)",
                  StartsWith("update_time: is null; write a time such as"),
                  StartsWith("paused: must be true or false, not a string"),
                  "build_progress: must be a number, not a list (line 8)"));
  EXPECT_THAT(Violations("name: S\nstatus: null\n"),
              ElementsAre("status: is null; write the name of a SegmentStatus or leave it out "
                          "(line 2)"));
}

TEST(Shape, OperandsMayBeEmptyTexts) {
  EXPECT_SAME(ReadOne("past_behavior: { property: { property: p, contains: \"\" } }"),
              Message("past_behavior { property { property: 'p' contains: '' } }"));
}

}  // namespace
}  // namespace segmentd
