"""What the notebooks' texts say was measured, beside the expression that measures it again.

Each expression is evaluated in the notebook's own kernel, after its last cell, and must be True.
"""

CLAIMS: dict[str, dict[str, str]] = {
    "00_start_here.ipynb": {
        "Here the sample is red and the test is green, two steps apart": (
            "(made.sample_color, made.test_color, made.label) == (0, 2, 2)"
        ),
        "Wiped after the sample: the answer is gone, and the model guesses a wrong one": (
            "after_sample[0].index != made.label and float(probability[2]) < 0.1"
        ),
        "Wiped one frame earlier: nothing has happened": (
            "before_sample[0].index == made.label and before_sample[0].probability > 0.95"
        ),
        "From the boundary after the sample to the one before the test the answer hangs on": (
            "float(probability[2:11].max()) < 0.1"
        ),
        "before and after, it does not": (
            "float(probability[:2].min()) > 0.95 and float(probability[11:].min()) > 0.95"
        ),
        "On the red disc this channel opens": (
            "float(latch.sel(frame=2).values[made.sample_mask[2].reshape(8, 8, 8, 8)"
            ".any((1, 3))].max()) > 0.5"
        ),
        "Tokens right behind the disc open it a little, too": (
            "0.01 < float(latch.sel(frame=2).values[~made.sample_mask[2].reshape(8, 8, 8, 8)"
            ".any((1, 3))].max()) < 0.2"
        ),
        "On the background, and on the green disc, it stays shut": (
            "float(opened.drop_sel(frame=2).sel(channel=channel).max()) < 0.002"
        ),
        "So the forward states tell the two samples apart from frame 2 on, through all": (
            "float((abs(apart).sel(direction='forward').max('state') / abs(apart).max())"
            ".sel(frame=range(2, 16)).min()) > 0.9"
        ),
        "cannot know it before it has come to frame 2": (
            "float(abs(apart).sel(direction='backward', frame=range(3, 16)).max()) == 0"
        ),
    },
    "05_state_surgery.ipynb": {
        "0.001, 0.01, 0.1 or 1?": "shares[1:] == [0.001, 0.01, 0.1, 1]",
        "between sample and test, and the model guesses": (
            "float(resets.sel(direction='both', frame=range(3, 12)).max()) < 0.45"
        ),
        "the two lines cross": (
            "float(resets.sel(direction='forward', frame=4)) < 0.5 "
            "< float(resets.sel(direction='forward', frame=11)) and "
            "float(resets.sel(direction='backward', frame=11)) < 0.5 "
            "< float(resets.sel(direction='backward', frame=4))"
        ),
        "Where the lines cross, most clips can do without either": (
            "float(resets.sel(direction=['forward', 'backward'], frame=[8, 9]).min()) > 0.6"
        ),
        "In this model it is not enough to answer by": "max(leaks.values()) < 0.45",
        "Every pixel of the sample that the model has seen says one color, and it answers with": (
            "float(gifts.sel(direction='forward', frame=range(3, 8)).min()) > 0.9"
        ),
        "its past moves hardly an answer": "float(gifts.sel(direction='backward').max()) < 0.25",
        "the forward scans of layers 0 and 2 each go about a third of the way": (
            "bool((abs(patching.restored_overall.sel(frame=3, direction='forward', layer=[0, 2]) "
            "- 0.34) < 0.06).all())"
        ),
        "In the middle of the delay no scan alone goes far": (
            "float(patching.restored_overall.sel(frame=7).max()) < 0.15"
        ),
        "all forward scans together brought the donor's answer in every clip": (
            "float(gifts.sel(direction='forward', frame=7)) == 1"
        ),
        "At this boundary all the donor's backward states together changed no answer": (
            "float(gifts.sel(direction='backward', frame=7)) == 0"
        ),
        "From the backward states of layers 3 to 5 a probe reads the color in nearly every": (
            "float(read.sel(direction='backward', layer=[3, 4, 5]).min()) > 0.9"
        ),
        "The median state has lost half in a fraction of a frame": (
            "float(lives.quantile(0.5, ['channel', 'state']).max()) < 0.5"
        ),
        "kept alone, these 246 answer nearly as well as all 24 576": (
            "lives.size == 24576 and round(0.01 * lives.size) == 246 and float(operated.accuracy"
            ".sel(operation='only these kept', order='largest effect first', share=0.01)) > 0.9"
        ),
        "Reset alone, they leave the model guessing": (
            "float(operated.accuracy.sel(operation='these reset', order='largest effect first', "
            "share=0.01)) < 0.45"
        ),
        "Taken from the donor, they bring the donor's answer in most clips": (
            "float(operated.accuracy.sel(operation='these swapped', order='largest effect first', "
            "share=0.01)) > 0.7"
        ),
        "Ten times as many at random do nothing of all this": (
            "[round(float(x), 1) for x in operated.accuracy.sel(order='at random', share=0.1)]"
            "[1:] == [1.0, 0.0] and float(operated.accuracy.sel(order='at random', share=0.1,"
            " operation='only these kept')) < 0.45"
        ),
        "The slowest first do it too, if one takes more of them": (
            "float(operated.accuracy.sel(operation='only these kept', order='slowest first', "
            "share=0.1)) > 0.9 and float(operated.accuracy.sel(operation='these reset', "
            "order='slowest first', share=0.1)) < 0.45"
        ),
        "Reverse the order of all tubelets, and it hardly minds": (
            "int((turned.argmax(1) == motions).sum()) >= 11"
        ),
    },
    "10_a_thousand_clips.ipynb": {
        "These clips are like those that it was trained on, so that it should know nearly all": (
            "float((states.logits.values[:, 0].argmax(1) == labels).mean()) > 0.95"
        ),
        "the embeddings use hardly more than they need": "7 < directions < 12",
        "None of the 64 numbers is idle, and none is sparse": (
            "float(statistics(states, 'embedding').deviation.min()) > 0.5 and "
            "float(statistics(states, 'embedding').sparsity.max()) < 0.6"
        ),
        "A linear read-out of the pixels does no better than a guess": (
            "float(read.low.sel(source='pixels')) < float(read.sel(source='constant'))"
        ),
        "So the embedding is the answer, and little beside it": "same > 0.9",
        "six of them active in a token on average": "4 < quality.active.value < 9",
        "The best single feature tells a class better than the best component or channel": (
            "scores['feature'].low > max(scores['component'].value, scores['channel'].value)"
        ),
        "of some classes no feature is worth much": (
            "min(found['feature'][name].draws[0] for name in names) < 0.85"
        ),
        "the same length of another direction moves the logit less": (
            "max(abs(effects[i]) for i in quiet) < effects[feature]"
        ),
        "takes away much less than adding it brought": (
            "float((model(movers) - without)[:, goal].mean()) < effects[feature] / 4"
        ),
        "Of single tokens, a channel tells the class better than any feature": (
            "study['models']['motion-nano']['sites']['late tokens']['factors'][0]"
            "['feature less channel']['high'] < 0"
        ),
        "claims it by the rule of the study, an AUROC of 0.9 in training": (
            "study['claims_from'] == 0.9 and "
            "len(study['models']['motion-nano']['sites']['late tokens']['steering']) == 1"
        ),
        "two features tell blue, and adding either does not bring the answer that blue would": (
            "[row['added']['right'] for row in "
            "study['models']['recall-nano']['sites']['tokens']['steering'] "
            "if row['claims'] == 'sample color: blue'] == [False, False]"
        ),
    },
    "03_delta_and_memory.ipynb": {
        "In layers 0 to 4 the ratio stays within 6 % of 1": (
            "float(abs(contrast.ratio.sel(layer=range(5)).median('clip') - 1).max()) < 0.06"
        ),
        "0.86 forward and 0.72 backward": (
            "contrast.ratio.sel(layer=5).median('clip').values.round(2).tolist() == [0.86, 0.72]"
        ),
        "Below 0.1 in layers 0 to 4": (
            "float(contrast.spread.median('clip').sel(layer=range(5)).max()) < 0.1"
        ),
        "In layer 5 their delta is lower, too": (
            "float(contrast.ratio_frames.sel(layer=5).median('clip').max()) < 0.95"
        ),
        "from the sample on, a tenth of its states outlasts the clip": (
            "float(lasting.censored.sel(layer=0, direction='forward', frame=range(3, 16)).mean())"
            " > 0.8"
        ),
        "those half-lives end at the disc": (
            "float(lasting.tokens.sel(layer=0, direction='forward', frame=1).max()) <= 128"
        ),
        "Elsewhere the long-lived tenth lasts one to five frames": (
            "bool(lasting.frames.median(['frame', 'row', 'col']).isin(range(1, 6)).all())"
        ),
        "In layer 0 a third is gone after one frame": (
            "abs(float(held.sel(layer=0, direction='forward', source=2, frame=3)) - 2 / 3) < 0.05"
        ),
        "of the rest more than half is still there at the end": (
            "float(held.sel(layer=0, direction='forward', source=2, frame=15)"
            " / held.sel(layer=0, direction='forward', source=2, frame=3)) > 0.5"
        ),
        "about as little is left five frames later as in any other layer": (
            "float(held.sel(direction='forward', source=5, frame=10).max()) < 0.1"
        ),
        "Of the frame of the sample ten times as much is left at that time": (
            "7 < float(held.sel(layer=0, direction='forward', source=2, frame=10)"
            " / held.sel(layer=0, direction='forward', source=5, frame=10)) < 13"
        ),
        "Backward, layers 1 and 2 do the same with the frame of the test": (
            "bool((held.sel(layer=[1, 2], direction='backward', source=11, frame=6)"
            " > 2 * held.sel(layer=[1, 2], direction='backward', source=9, frame=4)).all())"
        ),
        "layer 0 looks back four frames forward, of nine that could be at most": (
            "abs(float(course.distance.sel(layer=0, direction='forward', frame=15).mean()) - 4)"
            " < 0.5 and abs(float(course.ceiling.sel(layer=0, direction='forward', frame=15)"
            ".mean()) - 9) < 0.5"
        ),
        "all other scans one to three at the end of their way": (
            "all(1 < float(course.distance.sel(layer=n, direction=way, frame=at).mean()) < 3"
            " for way, at in (('forward', 15), ('backward', 0)) for n in range(6)"
            " if (n, way) != (0, 'forward'))"
        ),
        "In most layers the dot stands above its band": "int((found.p_value < 0.05).sum()) > 3",
        "And the dimensions: about two": "abs(float(found.participation.mean()) - 2) < 0.5",
        "the forward states know the color from boundary 3 on": (
            "float(read.sel(layer=0, frame=2)) < 0.45 and float(read.sel(layer=0, frame=3)) > 0.75"
        ),
        "In layers 2 and 3 it can be read at boundary 2 already": (
            "float(read.sel(layer=[2, 3], frame=2).min()) > 0.9"
        ),
        "layer 3 holds hardly anything of frame 2 at frame 10, and yet the color can be read": (
            "float(held.sel(layer=3, direction='forward', source=2, frame=10)) < 0.05"
            " and float(read.sel(layer=3, frame=11)) > 0.9"
        ),
        "Layer 0 gets pixels, and they say nothing": "inputs[0] < 0.45",
        "every one of them can bring the color along": "inputs[3] > 0.9",
        "It is there, it can be read, and nothing hangs on it any more": (
            "wiped > 0.9 and float(read.sel(frame=12).max()) > 0.9"
        ),
    },
    "solutions/03_delta_and_memory.ipynb": {
        "the mean age of 16 frames of equal weight is 7.5": "sum(range(16)) / 16 == 7.5",
    },
    "solutions/00_start_here.ipynb": {
        "most get one and the same answer, whatever their samples were": "same >= 12",
    },
    "solutions/05_state_surgery.ipynb": {
        "the answer mostly survives": "0.7 < frozen['the delay'] <= frozen['nothing']",
        "the states take nothing in: the model guesses": "frozen['the sample'] < 0.45",
        "the model mostly answers rightly": "dropped['the delay'] > 0.7",
        "Without the sample it guesses": "dropped['the sample'] < 0.45",
        "at every boundary in between the donor's answer comes with it": (
            "min(rows[\"donor's past: donor's\"][2:11]) > 0.8"
        ),
    },
}
