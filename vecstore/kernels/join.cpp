#include "join.h"

#include "arrays.h"

namespace vecstore {

namespace {

void take(FlatJob& job, const FlatJob& from) {
    check(job.dim == from.dim, "queries of the same dimension");
    job.queries = from.queries;
}

void take(DenseJob& job, const DenseJob& from) {
    check(job.bytes == from.bytes && job.nibbles == from.nibbles, "digits of the same shape");
    job.digits = from.digits;
    job.queries = from.queries;
}

void take(PackedJob& job, const PackedJob& from) {
    check(job.bytes == from.bytes, "tables of the same shape");
    job.tables = from.tables;
    job.queries = from.queries;
    job.run = from.run;
}

void take(TableJob& job, const TableJob& from) {
    check(job.count == from.count, "tables of the same shape");
    job.tables = from.tables;
    job.queries = from.queries;
}

void take(SignsJob& job, const SignsJob& from) {
    check(job.bytes == from.bytes, "signs of the same shape");
    job.signs = from.signs;
    job.lengths = from.lengths;
    job.table = from.table;
}

void take(TotalJob& job, const TotalJob& from) {
    check(job.count == from.count && (!job.norm || from.norms), "as many terms, and lengths");
    job.norms = from.norms;
}

}  // namespace

std::unique_ptr<const Joined> join(const Scores& rows, const Scores& queries) {
    const Scoring own = rows.scoring(), asked = queries.scoring();
    check(own.variant == asked.variant && rows.job().index() == queries.job().index(),
          "queries of the same codec");
    auto joined = std::make_unique<Joined>();
    joined->job = rows.job();
    std::visit([&]<class Own>(Own& job) { take(job, std::get<Own>(queries.job())); }, joined->job);
    if (auto* total = std::get_if<TotalJob>(&joined->job)) {
        for (size_t t = 0; t < rows.terms().size(); t++) {
            joined->parts.push_back(join(*rows.terms()[t], *queries.terms()[t]));
            const Scoring& part = joined->parts.back()->scoring;
            joined->terms.push_back({part.family, part.job, total->terms[t].gain});
        }
        total->terms = joined->terms.data();
    }
    joined->scoring = {own.variant, own.family, job_of(joined->job), own.rows, asked.count,
                       asked.norms};
    return joined;
}

}  // namespace vecstore
