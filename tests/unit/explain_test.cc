#include "segment/explain.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/small_engine.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string Text(const google::protobuf::Timestamp& time) {
  return FormatTimestamp(Time::Millis(time.seconds() * 1000 + time.nanos() / 1'000'000))
      .substr(11, 8);
}

// The tree, a finding a line: path, whether it holds (+, -, or ? for neither), text, since and
// until.
void Append(const pb::Finding& finding, int depth, std::string* out) {
  absl::StrAppend(out, std::string(static_cast<size_t>(depth) * 2, ' '),
                  !finding.has_holds() ? "?"
                  : finding.holds()    ? "+"
                                       : "-",
                  " ", finding.path(), ": ", finding.text());
  if (finding.has_since()) absl::StrAppend(out, " {since ", Text(finding.since()), "}");
  if (finding.has_until()) absl::StrAppend(out, " {until ", Text(finding.until()), "}");
  absl::StrAppend(out, "\n");
  for (const pb::Finding& child : finding.children()) Append(child, depth + 1, out);
}

std::string Tree(const pb::Explanation& explanation) {
  std::string out = "\n";
  Append(explanation.root(), 0, &out);
  return out;
}

TEST(Explain, SaysWhoAndWhen) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.send({"10:00", "A"});
  engine.clock("11:00");
  const pb::Explanation explanation = engine.explain();
  EXPECT_TRUE(explanation.member());
  EXPECT_EQ(explanation.segment_version(), 1);
  EXPECT_EQ(Text(explanation.since()), "10:00:00");
  EXPECT_EQ(Text(explanation.now()), "11:00:00");
  engine.send({"11:30", "B"});
  EXPECT_EQ(Text(engine.explain().now()), "11:30:00") << "the user's newest event is ahead";
}

TEST(Explain, AUserWhoIsNotKnown) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  engine.clock("10:00");
  const pb::Explanation explanation = engine.explain();
  EXPECT_FALSE(explanation.member());
  EXPECT_FALSE(explanation.has_since());
  EXPECT_EQ(explanation.root().text(), "the user is not known: no event was read");
}

TEST(Explain, ActionsWithExitAndFilter) {
  SmallEngine engine(R"(
name: S
live:
  actions:
    any_of:
      - { event: A, where: [ { property: n, greater_than: 5 }, { property: c, in: [ 7, x ] } ] }
      - { event: B }
  filter:
    all_of:
      - property: { property: country, equals: IN }
      - not: { property: { property: plan, matches: ^free } }
  exit: { after: 1h }
)");
  engine.send({"10:00", "", {}, {{ProfileOperation::kSet, "country", "IN"}}});
  engine.send({"10:01", "B"});
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:01:00.000Z {since 10:01:00} {until 11:01:00}
  ? live.actions.any_of[0]: A where n greater_than 5 and c in [7, "x"]: waits for its event
  + live.actions.any_of[1]: B: last qualified at 2026-11-22T10:01:00.000Z {since 10:01:00}
  ? live.exit: leaves 1h after last qualifying: at 2026-11-22T11:01:00.000Z {until 11:01:00}
  + live.filter: all of
    + live.filter.all_of[0]: country equals "IN"; it is "IN" {since 10:00:00}
    + live.filter.all_of[1]: not
      - live.filter.all_of[1].not: plan matches "^free"; it is missing
)");
  engine.send({"11:30", "", {}, {{ProfileOperation::kSet, "country", "US"}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member
  ? live.actions.any_of[0]: A where n greater_than 5 and c in [7, "x"]: waits for its event
  ? live.actions.any_of[1]: B: waits for its event
  ? live.exit: leaves 1h after last qualifying
  - live.filter: all of
    - live.filter.all_of[0]: country equals "IN"; it is "US" {since 11:30:00}
    + live.filter.all_of[1]: not
      - live.filter.all_of[1].not: plan matches "^free"; it is missing
)");
}

TEST(Explain, Inaction) {
  SmallEngine engine(
      "{ name: S, live: { inaction: { trigger: { event: A }, does_not_do: [ { event: B }, "
      "{ event: C } ], within: 10m, match: cart } } }");
  engine.send({"09:00", "X"});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member
  ? live.inaction.trigger: A, then within 10m none of: B; C
    - live.inaction.trigger: not triggered since it was last cancelled, decided or created
  ? live.inaction.does_not_do: leaves at a does_not_do event
)");
  engine.send({"10:00", "A", {{"cart", 1.0}}});
  engine.send({"10:04", "A", {{"cart", 2.0}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member {until 10:10:00}
  ? live.inaction.trigger: A, then within 10m none of: B; C
    ? live.inaction.within: pending since 2026-11-22T10:00:00.000Z, joins at 2026-11-22T10:10:00.000Z unless cancelled {since 10:00:00} {until 10:10:00}
    ? live.inaction.within: pending since 2026-11-22T10:04:00.000Z, joins at 2026-11-22T10:14:00.000Z unless cancelled {since 10:04:00} {until 10:14:00}
  ? live.inaction.does_not_do: leaves at a does_not_do event
)");
  engine.clock("10:10");
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:10:00.000Z {since 10:10:00}
  ? live.inaction.trigger: A, then within 10m none of: B; C
    ? live.inaction.within: pending since 2026-11-22T10:04:00.000Z, ends without effect at 2026-11-22T10:14:00.000Z while a member {since 10:04:00} {until 10:14:00}
    + live.inaction.within: triggered at 2026-11-22T10:00:00.000Z, not cancelled until 2026-11-22T10:10:00.000Z {since 10:10:00}
  ? live.inaction.does_not_do: leaves at a does_not_do event
)");
}

TEST(Explain, PageVisit) {
  SmallEngine engine(
      "{ name: S, live: { page_visit: { url: { contains: /pricing } }, exit: { never: true } } }");
  engine.send({"10:00", "Page Viewed", {{"url", "https://a.example/pricing"}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:00:00.000Z {since 10:00:00}
  + live.page_visit.url: url contains "/pricing": last qualified at 2026-11-22T10:00:00.000Z {since 10:00:00}
  ? live.exit: a member stays
)");
}

TEST(Explain, Referrer) {
  SmallEngine engine(
      "{ name: S, live: { referrer: { url: { contains: partner } }, "
      "exit: { on: [ { event: X } ] } } }");
  engine.send({"10:00", "Page Viewed"});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member
  ? live.referrer.url: first page of a session, referrer contains "partner": waits for its event
  + live.referrer.session: last page at 2026-11-22T10:00:00.000Z, the session ends at 2026-11-22T10:30:00.000Z {until 10:30:00}
  ? live.exit: leaves at one of the events of `exit.on`
)");
  engine.clock("10:30");
  EXPECT_THAT(Tree(engine.explain()), testing::HasSubstr("- live.referrer.session: last page at "
                                                         "2026-11-22T10:00:00.000Z, the session "
                                                         "ended at 2026-11-22T10:30:00.000Z"));
}

TEST(Explain, PageCountOfASession) {
  SmallEngine engine(
      "{ name: S, live: { page_count: { at_least: 3, distinct_urls: true, per: session } } }");
  engine.send({"10:00", "Page Viewed", {{"url", "/a"}}});
  engine.send({"10:01", "Page Viewed", {{"url", "/b"}}});
  engine.send({"10:02", "Page Viewed", {{"url", "/a"}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member
  - live.page_count.at_least: 2 of 3 different pages in the session
  + live.page_count.session: last page at 2026-11-22T10:02:00.000Z, the session ends at 2026-11-22T10:32:00.000Z {until 10:32:00}
  ? live.exit: a member stays
)");
  engine.clock("10:32");
  EXPECT_EQ(engine.explain().root().children(0).text(), "0 of 3 different pages in the session");
}

TEST(Explain, PageCountInAWindow) {
  SmallEngine engine("{ name: S, live: { page_count: { at_least: 2, within: 10m } } }");
  engine.send({"10:00", "Page Viewed"});
  engine.send({"10:05", "Page Viewed"});
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:05:00.000Z {since 10:05:00}
  + live.page_count.at_least: at least 2 of 2 pages within 10m
  ? live.exit: a member stays
)");
  engine.clock("10:10");
  EXPECT_EQ(engine.explain().root().children(0).text(), "1 of 2 pages within 10m");
}

TEST(Explain, AMemberFromAnEarlierVersion) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: X } ] } } }");
  engine.send({"10:00", "X"});
  engine.define(0,
                "{ name: S, live: { inaction: { trigger: { event: A }, "
                "does_not_do: [ { event: B } ], within: 10m } } }");
  EXPECT_EQ(engine.explain().segment_version(), 2);
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:00:00.000Z, by an earlier version {since 10:00:00}
  ? live.inaction.trigger: A, then within 10m none of: B
  ? live.inaction.does_not_do: leaves at a does_not_do event
)");
  engine.define(0, "{ name: S, live: { page_visit: { url: { contains: a } } } }");
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:00:00.000Z, by an earlier version {since 10:00:00}
  ? live.page_visit.url: url contains "a": waits for its event
  ? live.exit: a member stays
)");
}

TEST(Explain, PastBehaviour) {
  SmallEngine engine(R"(
name: S
past_behavior:
  all_of:
    - did: { event: Charged, within_last: 30m, count: { at_least: 2 } }
    - did: { event: Charged, within_last: 1h, sum: { property: amount, greater_than: 7.5 } }
    - did_not: { event: Left, within_last: 10m }
    - property: { property: seen, within_last: 20m }
)");
  engine.send({"10:00",
               "Charged",
               {{"amount", 3.5}},
               {{ProfileOperation::kSet, "seen", "2026-11-22T09:55:00Z"}}});
  engine.send({"10:05", "Charged", {{"amount", 4.5}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
+ past_behavior: a member since 2026-11-22T10:05:00.000Z {since 10:05:00} {until 10:15:00}
  + past_behavior: all of {since 10:05:00} {until 10:15:00}
    + past_behavior.all_of[0]: Charged in the last 30m: 2 or more of at least 2, the last at 2026-11-22T10:05:00.000Z {until 10:30:00}
    + past_behavior.all_of[1]: Charged in the last 1h: sum of amount 8 of more than 7.5, the last at 2026-11-22T10:05:00.000Z {until 11:00:00}
    + past_behavior.all_of[2]: not Left in the last 10m: 0 of at least 1
    + past_behavior.all_of[3]: seen within_last 20m; it is "2026-11-22T09:55:00Z" {since 10:00:00} {until 10:15:00}
)");
  engine.send({"10:25", "Left"});
  engine.clock("10:32");
  EXPECT_EQ(Tree(engine.explain()), R"(
- past_behavior: not a member
  - past_behavior: all of {since 10:15:00}
    - past_behavior.all_of[0]: Charged in the last 30m: 1 of at least 2, the last at 2026-11-22T10:05:00.000Z {since 10:30:00}
    + past_behavior.all_of[1]: Charged in the last 1h: sum of amount 8 of more than 7.5, the last at 2026-11-22T10:05:00.000Z {until 11:00:00}
    - past_behavior.all_of[2]: not Left in the last 10m: 1 or more of at least 1, the last at 2026-11-22T10:25:00.000Z {until 10:35:00}
    - past_behavior.all_of[3]: seen within_last 20m; it is "2026-11-22T09:55:00Z" {since 10:15:00}
)");
  engine.clock("11:10");
  EXPECT_THAT(Tree(engine.explain()),
              testing::HasSubstr("- past_behavior.all_of[1]: Charged in the last 1h: sum of amount "
                                 "0 of more than 7.5 {since 11:00:00}"));
}

TEST(Explain, AMembershipFromAnEarlierVersionSaysNothingOfThisOnesRule) {
  SmallEngine engine("{ name: S, past_behavior: { did: { event: A } } }");
  engine.send({"10:00", "A"});
  engine.send({"11:00", "", {}, {{ProfileOperation::kSet, "plan", "gold"}}});
  engine.clock("12:00");
  engine.define(0, "{ name: S, past_behavior: { property: { property: plan, equals: gold } } }");
  const pb::Explanation explanation = engine.explain();
  EXPECT_EQ(Text(explanation.since()), "10:00:00");
  ASSERT_EQ(explanation.root().children_size(), 1);
  EXPECT_EQ(Text(explanation.root().children(0).since()), "11:00:00");
}

TEST(Explain, ValuesAreDataToo) {
  SmallEngine engine(R"(
name: S
past_behavior:
  any_of:
    - did: { event: Charged, count: { at_least: 9 } }
    - did: { event: Charged, within_last: 1h, sum: { property: amount, less_than: 0 } }
    - did: { event: Charged, average: { property: amount, less_than: 0 } }
    - did: { event: Charged, first_time: true, within_last: 1m }
    - property: { property: plan, equals: free }
    - property: { property: tags, contains: x }
    - property: { property: nothing, equals: 1 }
    - not: { property: { property: vip, exists: true } }
)");
  engine.send({"10:00",
               "Charged",
               {{"amount", 3.5}},
               {{ProfileOperation::kSet, "plan", "gold"}, {ProfileOperation::kSet, "vip", true}}});
  engine.send({"10:05", "Charged", {{"amount", 4.5}}});
  const pb::Explanation explanation = engine.explain();
  const pb::Finding& any = explanation.root().children(0);
  ASSERT_EQ(any.children_size(), 8);
  EXPECT_EQ(any.children(0).value().number_value(), 2);
  EXPECT_EQ(any.children(1).value().number_value(), 8);
  EXPECT_EQ(any.children(2).value().number_value(), 4);
  EXPECT_EQ(any.children(3).value().string_value(), "2026-11-22T10:00:00.000Z");
  EXPECT_EQ(any.children(4).value().string_value(), "gold");
  EXPECT_EQ(Text(any.children(4).since()), "10:00:00");
  EXPECT_FALSE(any.children(5).has_value());
  EXPECT_FALSE(any.children(6).has_value());
  EXPECT_FALSE(any.children(6).has_since()) << "never written";
  EXPECT_FALSE(any.children(7).has_value()) << "its part has it";
  EXPECT_EQ(Text(any.children(7).since()), "10:00:00");
  EXPECT_TRUE(any.children(7).children(0).value().bool_value());
  EXPECT_FALSE(any.holds());
}

TEST(Explain, SeveralMeasuresOfOneDid) {
  SmallEngine engine(R"(
name: S
past_behavior:
  did: { event: A, where: [ { property: n, exists: true } ], during: today, time_zone: Asia/Kolkata, first_time: true,
         count: { at_least: 2, less_than: 5 }, average: { property: n, not_equals: 3 }, include_users_who_did_not: true }
)");
  engine.send({"10:00", "A", {{"n", 3.0}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
- past_behavior: not a member
  - past_behavior: A where n exists true today in Asia/Kolkata: all of
    - past_behavior.count: 1 of at least 2 and less than 5, none counts as 0
    - past_behavior.average: average of n 3 of not 3, over 1 event, none counts as 0 {until 18:30:00}
    + past_behavior.first_time: for the first time at 2026-11-22T10:00:00.000Z {until 18:30:00}
)");
}

TEST(Explain, AFilterOnThePastAndOtherSegments) {
  SmallEngine engine(R"(
name: S
live:
  actions: { any_of: [ { event: A } ] }
  filter: { any_of: [ { in_segment: inner }, { did: { event: B, between: { from: 2026-01-01, to: 2027-01-01 } } } ] }
---
id: inner
name: Inner
live: { actions: { any_of: [ { event: C } ] }, exit: { after: 1h } }
)");
  engine.send({"10:00", "C"});
  engine.send({"10:01", "B"});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member
  ? live.actions.any_of[0]: A: waits for its event
  ? live.exit: a member stays
  + live.filter: any of
    + live.filter.any_of[0]: in segment inner (Inner): a member since 2026-11-22T10:00:00.000Z {since 10:00:00} {until 11:00:00}
    + live.filter.any_of[1]: B from 2026-01-01 to before 2027-01-01: 1 of at least 1
)");
  engine.clock("12:00");
  EXPECT_THAT(Tree(engine.explain()),
              testing::HasSubstr("- live.filter.any_of[0]: in segment inner (Inner): not a member "
                                 "{since 11:00:00}"));
}

TEST(Explain, AHistoryThatNothingHasComeForSince) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: C } ] } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:30", "A"});
  // Came too late, and counts from 12:30 on.
  engine.send({.time = "09:00", .name = "A", .record_time = "12:30"});
  engine.clock("12:29:59");
  engine.define(1, R"(
name: L
live:
  actions: { any_of: [ { event: B } ] }
  filter: { did: { event: A, within_last: 4h, count: { at_least: 3 } } }
)");
  EXPECT_EQ(Tree(engine.explain(1)), R"(
- live: not a member
  ? live.actions.any_of[0]: B: waits for its event
  ? live.exit: a member stays
  - live.filter: A in the last 4h: 2 of at least 3, the last at 2026-11-22T10:30:00.000Z {until 12:30:00}
)");
  engine.clock("12:45");
  EXPECT_EQ(Tree(engine.explain(1)), R"(
- live: not a member
  ? live.actions.any_of[0]: B: waits for its event
  ? live.exit: a member stays
  + live.filter: A in the last 4h: 3 or more of at least 3, the last at 2026-11-22T10:30:00.000Z {until 13:00:00}
)");
}

// Forty segments, each asking for the next one twice: 2^40 ways from the first to the last.
TEST(Explain, EndsHoweverManyWaysLeadToASegment) {
  std::string yaml;
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&yaml, "id: s", i, "\nname: S\npast_behavior: { all_of: [ { in_segment: s",
                    i + 1, " }, { in_segment: s", i + 1, " } ] }\n---\n");
  }
  absl::StrAppend(&yaml,
                  "id: s40\nname: S\npast_behavior: { did: { event: A, within_last: 1h } }\n");
  SmallEngine engine(yaml);
  engine.send({"10:00", "A"});
  EXPECT_EQ(Tree(engine.explain(0)), R"(
+ past_behavior: a member since 2026-11-22T10:00:00.000Z {since 10:00:00} {until 11:00:00}
  + past_behavior: all of {since 10:00:00} {until 11:00:00}
    + past_behavior.all_of[0]: in segment s1 (S): a member since 2026-11-22T10:00:00.000Z {since 10:00:00} {until 11:00:00}
    + past_behavior.all_of[1]: in segment s1 (S): a member since 2026-11-22T10:00:00.000Z {since 10:00:00} {until 11:00:00}
)");
}

// A date comes every year, and none of them ever decides anything.
TEST(Explain, EndsWhereTheMomentsToComeHaveNoEnd) {
  SmallEngine engine(R"(
name: S
live: { date_time: { property: born, recurring: yearly }, filter: { property: { property: plan, equals: gold } } }
)");
  engine.send(
      {"09:00",
       "",
       {},
       {{ProfileOperation::kSet, "born", "1990-05-04"}, {ProfileOperation::kSet, "plan", "free"}}});
  const std::string tree = Tree(engine.explain());
  EXPECT_THAT(tree, testing::StartsWith("\n- live: not a member\n"));
  EXPECT_THAT(tree, testing::HasSubstr("the next moment is 2027-05-04T00:00:00.000Z"));
}

// A sum of as many values as are kept turns with the last of them, whatever stands beside it and
// however it is referred to.
TEST(Explain, FindsTheEndOfALongSum) {
  std::string yaml =
      "id: outer\nname: S\npast_behavior: { all_of: [ { in_segment: inner }, { did: { event: A, "
      "within_last: 20h, average: { property: n, at_least: 1 } } } ] }\n---\n"
      "id: inner\nname: S\npast_behavior:\n  all_of:\n    - did: { event: A, within_last: 23h, "
      "sum: { "
      "property: n, at_least: 1 } }\n";
  for (int i = 0; i < 20; ++i) {
    absl::StrAppend(&yaml, "    - not: { property: { property: p, equals: v", i, " } }\n");
  }
  SmallEngine engine(yaml);
  engine.send({"00:00", "", {}, {{ProfileOperation::kSet, "p", "v"}}});
  for (int i = 0; i < 1000; ++i) {
    engine.send({absl::StrFormat("%02d:%02d", i / 60, i % 60), "A", {{"n", 1.0}}});
  }
  EXPECT_THAT(Tree(engine.explain(1)), testing::StartsWith("\n+ past_behavior: a member since "
                                                           "2026-11-22T00:00:00.000Z {since "
                                                           "00:00:00} {until 15:39:00}\n"));
  EXPECT_THAT(Tree(engine.explain(0)), testing::HasSubstr("in segment inner (S): a member since "
                                                          "2026-11-22T00:00:00.000Z {since "
                                                          "00:00:00} {until 15:39:00}"));
}

// What a moment costs depends on what the profile holds: the search ends all the same.
TEST(Explain, EndsThoughEveryMomentIsDear) {
  SmallEngine engine(R"(
name: S
live: { date_time: { property: born, recurring: yearly }, filter: { property: { property: plan, equals: gold } } }
)");
  std::vector<property::Scalar> dates;
  dates.reserve(300);
  for (int day = 0; day < 300; ++day) {
    dates.emplace_back(absl::StrFormat("1990-%02d-%02d", 1 + day / 28 % 12, 1 + day % 28));
  }
  engine.send({"09:00", "", {}, {{ProfileOperation::kSet, "born", dates}}});
  EXPECT_THAT(Tree(engine.explain()), testing::StartsWith("\n- live: not a member\n"));
}

TEST(Explain, ADate) {
  SmallEngine engine("{ name: S, live: { date_time: { property: due, offset: -1h } } }");
  engine.send({"09:00", "", {}, {{ProfileOperation::kSet, "due", "2026-11-22T12:00:00Z"}}});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member {until 11:00:00}
  ? live.date_time.property: due is "2026-11-22T12:00:00Z"; the next moment is 2026-11-22T11:00:00.000Z {until 11:00:00}
    ? live.date_time.property: "2026-11-22T12:00:00Z" leads to 2026-11-22T11:00:00.000Z, still to come {until 11:00:00}
  ? live.exit: leaves 1d after the latest moment
)");
  engine.clock("11:00");
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T11:00:00.000Z {since 11:00:00} {until 11:00:00}
  ? live.date_time.property: due is "2026-11-22T12:00:00Z"; no moment to come
    ? live.date_time.property: "2026-11-22T12:00:00Z" leads to 2026-11-22T11:00:00.000Z, past
  ? live.exit: leaves 1d after the latest moment: at 2026-11-23T11:00:00.000Z {until 11:00:00}
)");
  engine.send({"13:00", "", {}, {{ProfileOperation::kSet, "due", "2026-11-22T12:30:00Z"}}});
  EXPECT_THAT(Tree(engine.explain()),
              testing::HasSubstr(", more than 1h before it became known at "
                                 "2026-11-22T13:00:00.000Z: it did not fire"));
}

TEST(Explain, ASequence) {
  SmallEngine engine(
      "{ name: S, live: { sequence: { steps: [ { event: A }, { event: B, within: 10m }, "
      "{ did_not: { event: C }, within: 5m } ] } } }");
  engine.send({"10:00", "A"});
  engine.send({"10:02", "B"});
  engine.send({"10:03", "A"});
  EXPECT_EQ(Tree(engine.explain()), R"(
- live: not a member {until 10:07:00}
  ? live.sequence.steps[0]: A: begins an instance
  ? live.sequence.steps[1]: B within 10m
    ? live.sequence.steps[1]: an instance waits since 2026-11-22T10:03:00.000Z, ends at 2026-11-22T10:13:00.000Z {since 10:03:00} {until 10:13:00}
  ? live.sequence.steps[2]: no C for 5m
    ? live.sequence.steps[2]: an instance waits since 2026-11-22T10:02:00.000Z, done at 2026-11-22T10:07:00.000Z unless the event comes before {since 10:02:00} {until 10:07:00}
  ? live.exit: a member stays
)");
  engine.clock("10:20");
  EXPECT_EQ(Tree(engine.explain()), R"(
+ live: a member since 2026-11-22T10:07:00.000Z {since 10:07:00}
  ? live.sequence.steps[0]: A: begins an instance
  ? live.sequence.steps[1]: B within 10m: no instance waits for it
  + live.sequence.steps[2]: no C for 5m: last qualified by B at 2026-11-22T10:02:00.000Z {since 10:07:00}
  ? live.exit: a member stays
)");
}

TEST(Explain, ASequenceDoneByAnEventOrByAbsencesInARow) {
  SmallEngine by_event(
      "{ name: S, live: { sequence: { steps: [ { event: A }, { event: B, within: 10m } ] } } }");
  by_event.send({"10:00", "A"});
  by_event.send({"10:02", "B"});
  EXPECT_THAT(
      Tree(by_event.explain()),
      testing::HasSubstr("last qualified by B at 2026-11-22T10:02:00.000Z {since 10:02:00}"));
  SmallEngine by_absences(
      "{ name: S, live: { sequence: { steps: [ { event: A }, { did_not: { event: B }, within: 5m },"
      " { did_not: { event: C }, within: 10m } ] } } }");
  by_absences.send({"10:00", "A"});
  by_absences.clock("10:20");
  EXPECT_THAT(
      Tree(by_absences.explain()),
      testing::HasSubstr("last qualified by A at 2026-11-22T10:00:00.000Z {since 10:15:00}"));
}

// A segment that counts the past, as a task has it in some phase.
std::string RootOf(void (*phase)(ActiveSegment*)) {
  std::vector<ActiveSegment> segments =
      ActiveFromYaml("{ id: s, name: S, past_behavior: { did: { event: A } } }");
  phase(&segments.at(0));
  Engine engine(RuleSet::Compile(segments).value(), {});
  UserState user;
  Changes changes;
  Event event;
  event.name = "A";
  event.time = event.record_time = At("10:00");
  engine.apply(event, At("10:00"), user, changes);
  const pb::Explanation explanation = engine.explain(0, At("10:00"), user);
  return absl::StrCat(explanation.root().text(), " (", explanation.root().children_size(), ")");
}

TEST(Explain, WhatIsNotActive) {
  EXPECT_EQ(RootOf([](ActiveSegment*) {}), "a member since 2026-11-22T10:00:00.000Z (1)");
  EXPECT_EQ(RootOf([](ActiveSegment* s) { s->built = false; }),
            "not a member; building: the history is still being read, until then nothing changes "
            "(0)");
  EXPECT_EQ(RootOf([](ActiveSegment* s) { s->paused = true; }),
            "not a member; paused: memberships stay as they are (0)");
  EXPECT_EQ(RootOf([](ActiveSegment* s) { s->segment.set_shadow(true); }),
            "a member since 2026-11-22T10:00:00.000Z; of a shadow segment, so its changes are not "
            "written (1)");
}

TEST(Explain, ASegmentThatIsNot) {
  SmallEngine engine("{ name: S, live: { actions: { any_of: [ { event: A } ] } } }");
  EXPECT_FALSE(engine.explain(7).has_root());
}

}  // namespace
}  // namespace segmentd
