"""BI-RADS BERT: accuracy, G.F1 and the auxiliary features of teacher forcing (medical_extra.npz)."""

import numpy as np

from experiments.text.sections import auxiliary
from jaxemb.metrics.sections import generalised_f1, section_scores


def test_figures_and_features_of_a_report(load):
    arrays = load("medical_extra.npz")
    truth, prediction = arrays["birads_gt"], arrays["birads_pred"]
    np.testing.assert_allclose(generalised_f1(truth, prediction), arrays["birads_gf1"], rtol=1e-7)
    one = np.zeros(len(truth), int)
    found = section_scores(truth, prediction, one)
    np.testing.assert_allclose(found["accuracy"], arrays["birads_acc"], rtol=1e-7)
    np.testing.assert_array_equal(auxiliary(truth, one), arrays["birads_aux_teacher_forced"])
